"""Translation of torch's device errors, so a platform can tell a full device from a broken one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from musicgen.errors import DeviceFault, OutOfMemory

_CPU_ALLOCATION = "DefaultCPUAllocator: can't allocate memory"
# torch before 2.8 raised a plain RuntimeError with this prefix.
_CUDA_ERROR = "CUDA error:"
_FAULT: tuple[type[RuntimeError], ...] = (
    (torch.AcceleratorError,) if hasattr(torch, "AcceleratorError") else ()
)


@contextmanager
def translate_device_errors(device: str) -> Iterator[None]:
    """Translate device errors of torch into errors of this project.

    A CUDA fault makes every later call of the process fail, so only a new process helps.

    Raises: `OutOfMemory`, limited to this request, or `DeviceFault`.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or _CPU_ALLOCATION in str(error):
            raise OutOfMemory(
                f"{device} is out of memory. Ask for a shorter clip or fewer variations, or choose "
                "a smaller model."
            ) from error
        if isinstance(error, _FAULT) or _CUDA_ERROR in str(error):
            raise DeviceFault(
                f"{device} failed during decoding and is unusable in this process. Restart the "
                "worker; its log has the cause."
            ) from error
        raise
