"""The tensors of a packed file (`musicgen.checkpoints.packed.format`), where it is mapped."""

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
    """A packed file, memory-mapped: a tensor lies where the file does, and costs nothing until it
    is used.

    Raises: what `read_header` raises.
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
        """Of the weights."""
        return {n for n in self._layout.places if n != SUMS and not n.startswith(FILE_PREFIX)}

    def read(self, name: str) -> bytes | None:
        """A small file of the checkpoint, if it had it."""
        held = FILE_PREFIX + name
        return self[held].numpy().tobytes() if held in self else None

    def check(self) -> None:
        """Reads all of it once, by which it is in memory. Raises: `CheckpointCorrupt`."""
        summed = self._layout.summed
        wrong = sums_of(self._bytes[summed.start : summed.stop]) != self[SUMS]
        if wrong.any():
            at = summed.start + int(wrong.nonzero()[0]) * BLOCK_BYTES
            end = min(at + BLOCK_BYTES, summed.stop)
            raise CheckpointCorrupt(f"{self.path} is damaged between bytes {at} and {end}: {AGAIN}")


def sums_of(data: Tensor) -> Tensor:
    """Bytes to the sum of the 64-bit words of each block, modulo 2^64."""
    whole = len(data) // BLOCK_BYTES * BLOCK_BYTES
    blocks = data[:whole].view(torch.int64).view(-1, BLOCK_BYTES // _WORD_BYTES)
    rest = data[whole:]
    if not len(rest):
        return blocks.sum(dim=1)
    padded = torch.zeros(-(-len(rest) // _WORD_BYTES) * _WORD_BYTES, dtype=torch.uint8)
    padded[: len(rest)] = rest
    return torch.cat([blocks.sum(dim=1), padded.view(torch.int64).sum()[None]])


def shape_of(tensor: Tensor) -> Shape:
    return Shape(_NAMES[tensor.dtype], tuple(tensor.shape))


def bytes_of(tensor: Tensor) -> memoryview:
    """Its numbers as they lie in a file."""
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().data


def sha256_of(tensor: Tensor) -> str:
    return hashlib.sha256(bytes_of(tensor)).hexdigest()
