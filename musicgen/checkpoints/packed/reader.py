"""Tensors of a packed file (`musicgen.checkpoints.packed.format`), memory-mapped."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from musicgen.checkpoints.packed.format import (
    AGAIN,
    BLOCK_BYTES,
    FILE_PREFIX,
    SUMS,
    Shape,
    read_header,
)
from musicgen.errors import CheckpointCorrupt

TYPES = {
    "I64": torch.int64,
    "F32": torch.float32,
    "I32": torch.int32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I8": torch.int8,
    "U8": torch.uint8,
}
_NAMES = {dtype: name for name, dtype in TYPES.items()}
_WORD_BYTES = 8


class PackFile:
    """A memory-mapped packed file; a tensor costs nothing until its first use.

    Raises: the errors of `read_header`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._layout, self.manifest = read_header(path)
        total = self._layout.total
        self._bytes = torch.from_file(str(path), shared=False, size=total, dtype=torch.uint8)

    def __contains__(self, name: str) -> bool:
        return name in self._layout.places

    def __getitem__(self, name: str) -> Tensor:
        start, shape = self._layout.places[name]
        data = self._bytes[start : start + shape.bytes]
        return data.view(TYPES[shape.dtype]).view(shape.shape)

    def names(self) -> set[str]:
        """Return the names of the weights."""
        return {n for n in self._layout.places if n != SUMS and not n.startswith(FILE_PREFIX)}

    def read(self, name: str) -> bytes | None:
        """Return a small file of the checkpoint, or None without it."""
        tensor = FILE_PREFIX + name
        return self[tensor].numpy().tobytes() if tensor in self else None

    def check(self) -> None:
        """Read the whole file into memory and compare its sums. Raises: `CheckpointCorrupt`."""
        span = self._layout.sum_range
        wrong = compute_sums(self._bytes[span.start : span.stop]) != self[SUMS]
        if wrong.any():
            at = span.start + int(wrong.nonzero()[0]) * BLOCK_BYTES
            end = min(at + BLOCK_BYTES, span.stop)
            raise CheckpointCorrupt(f"{self.path} is damaged between bytes {at} and {end}: {AGAIN}")


def compute_sums(data: Tensor) -> Tensor:
    """Return the sum of the 64-bit words of each block of bytes, modulo 2^64."""
    whole = len(data) // BLOCK_BYTES * BLOCK_BYTES
    blocks = data[:whole].view(torch.int64).view(-1, BLOCK_BYTES // _WORD_BYTES)
    rest = data[whole:]
    if not len(rest):
        return blocks.sum(dim=1)
    padded = torch.zeros(-(-len(rest) // _WORD_BYTES) * _WORD_BYTES, dtype=torch.uint8)
    padded[: len(rest)] = rest
    return torch.cat([blocks.sum(dim=1), padded.view(torch.int64).sum()[None]])


def shape_of(tensor: Tensor) -> Shape:
    """Return the type and shape of a tensor."""
    return Shape(_NAMES[tensor.dtype], tuple(tensor.shape))


def bytes_of(tensor: Tensor) -> memoryview:
    """Return the numbers of a tensor as bytes, in the order of the file."""
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().data


def sha256_of(tensor: Tensor) -> str:
    """Return the sha256 of a tensor's bytes, in hexadecimal."""
    return hashlib.sha256(bytes_of(tensor)).hexdigest()
