"""GPUs of this machine, asked from NVIDIA's driver. Imports no torch.

Importing torch takes seconds, and a start with a wrong device must end at once.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

_DRIVER = "libcuda.so.1"
_NAME_BYTES = 128


@dataclass(frozen=True)
class Gpu:
    """GPU with its name and its memory in bytes."""

    name: str
    memory: int


@dataclass(frozen=True)
class GpuFacts:
    """GPUs visible to this process, and the reason for none.

    `driver`: newest CUDA of the driver, such as (13, 0); None without a driver.
    """

    gpus: tuple[Gpu, ...]
    driver: tuple[int, int] | None
    problem: str | None = None


def list_gpus() -> GpuFacts:
    """Return the GPUs that CUDA_VISIBLE_DEVICES leaves visible, by NVIDIA's driver."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return GpuFacts(
            (), None, "NVIDIA's driver is not installed, or not passed to the container"
        )
    version, count = ctypes.c_int(), ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(version))
    cuda = (version.value // 1000, version.value % 1000 // 10)
    if status := driver.cuInit(0):
        return GpuFacts((), cuda, f"NVIDIA's driver finds no usable GPU (CUDA error {status})")
    driver.cuDeviceGetCount(ctypes.byref(count))
    gpus = tuple(_read_gpu(driver, number) for number in range(count.value))
    return GpuFacts(gpus, cuda, None if gpus else "no GPU is visible (CUDA_VISIBLE_DEVICES)")


def count_usable_gpus() -> int:
    """Return the number of GPUs that the installed PyTorch can use; 0 without PyTorch."""
    return 0 if read_torch_cuda() is None else len(list_gpus().gpus)


def _read_gpu(driver: ctypes.CDLL, number: int) -> Gpu:
    name, memory = ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_size_t()
    driver.cuDeviceGetName(name, _NAME_BYTES, number)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), number)
    return Gpu(name.value.decode(errors="replace"), memory.value)


def read_torch_cuda() -> tuple[int, int] | None:
    """Return the CUDA version of the installed PyTorch; None for a build without CUDA.

    Reads its version file instead of importing it.
    """
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^cuda[^=]*=\s*'(\d+)\.(\d+)", text, re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else None
