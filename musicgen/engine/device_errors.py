"""Errors of the device as errors of ours: what a platform does next depends on which it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from musicgen.errors import DeviceFault, OutOfMemory

_CPU_ALLOCATION = "DefaultCPUAllocator: can't allocate memory"
# Before 2.8 torch raised a plain RuntimeError that begins like this.
_CUDA_ERROR = "CUDA error:"
_FAULT: tuple[type[RuntimeError], ...] = (
    (torch.AcceleratorError,) if hasattr(torch, "AcceleratorError") else ()
)


@contextmanager
def translate_device_errors(device: str) -> Iterator[None]:
    """Raises: `OutOfMemory`, which concerns this request alone, or `DeviceFault`.

    After a fault CUDA answers every call of the process with the same error, so nothing short of
    a new process helps.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or _CPU_ALLOCATION in str(error):
            raise OutOfMemory(
                f"{device} has no memory left for this request: ask for a shorter clip or fewer "
                "variations, or choose a smaller model"
            ) from error
        if isinstance(error, _FAULT) or _CUDA_ERROR in str(error):
            raise DeviceFault(
                f"{device} failed while decoding and this process cannot use it any more: the "
                "worker has to be started anew; its log has the reason"
            ) from error
        raise
