"""Arrays of a packed file (`musicgen.checkpoints.packed.format`), memory-mapped.

This module imports no torch; `musicgen.checkpoints.packed.tensors` makes tensors of its arrays.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicgen.checkpoints.packed.format import (
    AGAIN,
    BLOCK_BYTES,
    FILE_PREFIX,
    SUMS,
    Shape,
    read_header,
)
from musicgen.errors import CheckpointCorrupt

BFLOAT16 = np.dtype(np.uint16)
"""The bits of bfloat16, unknown to numpy. No packed file has other numbers of this type."""
TYPES: Mapping[str, np.dtype[Any]] = {
    "I64": np.dtype(np.int64),
    "F32": np.dtype(np.float32),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "F16": np.dtype(np.float16),
    "BF16": BFLOAT16,
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
}
NAMES = {dtype: name for name, dtype in TYPES.items()}
_WORD = np.dtype(np.int64)
_PIECE_BLOCKS = 16
"""Blocks summed by a thread at a time: small, so that several threads read a disk in order."""
_THREADS = 4


class PackFile:
    """A memory-mapped packed file; an array costs nothing until its first use.

    Raises: the errors of `read_header`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._layout, self.manifest = read_header(path)
        self._mapped = map_memory(path)
        self._bytes = np.frombuffer(self._mapped, np.uint8)[: self._layout.total]

    def __contains__(self, name: str) -> bool:
        return name in self._layout.places

    def __getitem__(self, name: str) -> NDArray[Any]:
        start, shape = self._layout.places[name]
        data = self._bytes[start : start + shape.bytes]
        return data.view(TYPES[shape.dtype]).reshape(shape.shape)

    def names(self) -> set[str]:
        """Return the names of the weights."""
        return {n for n in self._layout.places if n != SUMS and not n.startswith(FILE_PREFIX)}

    def read(self, name: str) -> bytes | None:
        """Return a small file of the checkpoint, or None without it."""
        array = FILE_PREFIX + name
        return self[array].tobytes() if array in self else None

    def release(self, name: str) -> None:
        """Give back the memory of an array; whoever still reads it gets it from the file again.

        It must be as in the file: what was written to it is lost.
        """
        start, shape = self._layout.places[name]
        first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
        length = (start + shape.bytes - first) // mmap.PAGESIZE * mmap.PAGESIZE
        if length > 0 and hasattr(mmap, "MADV_DONTNEED"):
            self._mapped.madvise(mmap.MADV_DONTNEED, first, length)

    def check(self) -> None:
        """Read the whole file into memory and compare its sums. Raises: `CheckpointCorrupt`."""
        span = self._layout.sum_range
        wrong = compute_sums(self._bytes[span.start : span.stop]) != self[SUMS]
        if wrong.any():
            at = span.start + int(wrong.argmax()) * BLOCK_BYTES
            end = min(at + BLOCK_BYTES, span.stop)
            raise CheckpointCorrupt(f"{self.path} is damaged between bytes {at} and {end}: {AGAIN}")


def map_memory(path: Path) -> mmap.mmap:
    """Map a file that is not empty; what is written to the memory stays in this process."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def map_file(path: Path) -> NDArray[np.uint8]:
    """Map a file as an array of bytes, like `map_memory`."""
    return np.frombuffer(map_memory(path), np.uint8)


def compute_sums(data: NDArray[np.uint8], threads: int = _THREADS) -> NDArray[np.int64]:
    """Return the sum of the 64-bit words of each block of bytes, modulo 2^64.

    Several threads read a mapped file faster, from memory and from a disk.
    """
    whole = len(data) // BLOCK_BYTES * BLOCK_BYTES
    blocks = data[:whole].view(_WORD).reshape(-1, BLOCK_BYTES // _WORD.itemsize)
    sums = np.zeros(-(-len(data) // BLOCK_BYTES), _WORD)

    def add(start: int) -> None:
        part = slice(start, min(start + _PIECE_BLOCKS, len(blocks)))
        blocks[part].sum(axis=1, out=sums[part])

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(add, range(0, len(blocks), _PIECE_BLOCKS)):
            pass
    if whole < len(data):
        words = np.zeros(-(-(len(data) - whole) // _WORD.itemsize), _WORD)
        words.view(np.uint8)[: len(data) - whole] = data[whole:]
        sums[-1] = words.sum()
    return sums


def shape_of(array: NDArray[Any]) -> Shape:
    """Return the type and shape of an array."""
    return Shape(NAMES[array.dtype], array.shape)


def bytes_of(array: NDArray[Any]) -> memoryview:
    """Return the numbers of an array as bytes, in the order of the file."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def sha256_of(array: NDArray[Any]) -> str:
    """Return the sha256 of an array's bytes, in hexadecimal."""
    return hashlib.sha256(bytes_of(array)).hexdigest()
