"""Tile sizes of the product kernel: a guess by shape. `bench/kernels.py` measures `CANDIDATES`."""

from __future__ import annotations

from dataclasses import dataclass

import torch

FEW_ROWS = 2
"""Rows multiplied without tensor cores, by tiles that do so: one guided clip has two."""


@dataclass(frozen=True)
class Tile:
    """Weights read at once by a program: `outputs` rows of `inputs` numbers.

    `warps` share them, and `stages` of them are in flight. `dots`: multiply on tensor cores, else
    with one multiplication per number and row.
    """

    outputs: int
    inputs: int
    warps: int
    stages: int
    dots: bool


CANDIDATES = (
    Tile(16, 256, 4, 4, dots=True),
    Tile(16, 256, 2, 4, dots=True),
    Tile(16, 512, 4, 3, dots=True),
    Tile(32, 256, 4, 4, dots=True),
    Tile(64, 128, 4, 5, dots=True),
    Tile(8, 512, 4, 3, dots=False),
    Tile(4, 1024, 4, 2, dots=False),
    Tile(16, 256, 4, 3, dots=False),
)
FLOAT32_TILE = Tile(16, 128, 4, 3, dots=True)
"""Fits into the shared memory of every GPU; float32 is for comparisons."""
MANY_OUTPUTS = 4096

Shape = tuple[int, int, int, int]
"""Outputs, inputs, bytes of a weight, and rows rounded up to those of one tile."""


def choose_tile(shape: Shape) -> Tile:
    """Return the tile of a shape, a guess."""
    if shape[2] == torch.float32.itemsize:
        return FLOAT32_TILE
    # 132 multiprocessors share 2,048 outputs in tiles of 16; four stages keep 32 KiB in flight.
    return CANDIDATES[3] if shape[0] > MANY_OUTPUTS else CANDIDATES[0]
