"""Sums of a packed file, added by several threads: those of one thread that adds word by word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from musicgen.checkpoints.packed import reader
from musicgen.checkpoints.packed.format import BLOCK_BYTES
from musicgen.checkpoints.packed.reader import compute_sums, map_file

PIECE = reader._PIECE_BLOCKS * BLOCK_BYTES
LENGTHS = [
    *(0, 1, 7, 8, 9, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1),
    *(PIECE - 8, PIECE, PIECE + 3, 5 * PIECE + BLOCK_BYTES + 13),
]
"""Around the ends of words, of blocks and of the pieces of a thread; the last has six pieces."""


def _add(data: bytes, block: int) -> list[int]:
    """Add the words of each block modulo 2^64; the last word is padded with zeros."""
    sums = []
    for start in range(0, len(data), block):
        part = data[start : start + block]
        words = np.frombuffer(part + bytes(-len(part) % 8), np.uint64)
        sums.append(int(np.add.reduce(words)))
    return sums


@pytest.mark.parametrize("threads", [1, 2, 4, 9])
@pytest.mark.parametrize("length", LENGTHS)
def test_threads_add_the_sums_of_one(tmp_path: Path, length: int, threads: int) -> None:
    data = np.random.default_rng(length).bytes(length)
    path = tmp_path / "weights"
    path.write_bytes(data)
    mapped = map_file(path) if length else np.empty(0, np.uint8)
    found = compute_sums(mapped, threads)
    assert found.dtype == np.int64
    assert found.view(np.uint64).tolist() == _add(data, BLOCK_BYTES)


@pytest.fixture(scope="module")
def data() -> NDArray[np.uint8]:
    """Bytes of six pieces."""
    return np.random.default_rng(0).integers(0, 256, 6 * PIECE, np.uint8)


@settings(max_examples=15)
@given(st.integers(0, 6 * PIECE - 1), st.integers(0, 7))
def test_a_flipped_bit_changes_the_sum_of_its_block(
    data: NDArray[np.uint8], at: int, bit: int
) -> None:
    before = compute_sums(data)
    data[at] ^= 1 << bit
    changed = np.flatnonzero(compute_sums(data) != before)
    data[at] ^= 1 << bit
    assert changed.tolist() == [at // BLOCK_BYTES]
