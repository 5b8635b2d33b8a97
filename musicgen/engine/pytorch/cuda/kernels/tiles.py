"""Tile sizes of the product kernel: a guess by shape, or the fastest of `CANDIDATES` as measured.

Measured sizes are kept for the process. They are measured before any graph is captured, never
inside one.
"""

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
_measured: dict[Shape, Tile] = {}


def choose_tile(shape: Shape) -> Tile:
    """Return the measured tile of a shape, or a guess."""
    known = _measured.get(shape)
    if known is not None:
        return known
    if shape[2] == torch.float32.itemsize:
        return FLOAT32_TILE
    # 132 multiprocessors share 2,048 outputs in tiles of 16; four stages keep 32 KiB in flight.
    return CANDIDATES[3] if shape[0] > MANY_OUTPUTS else CANDIDATES[0]


def remember_tile(shape: Shape, tile: Tile) -> None:
    """Use `tile` for a shape from now on."""
    _measured[shape] = tile


def list_measured() -> dict[Shape, Tile]:
    """Return the tiles that were measured in this process."""
    return dict(_measured)
