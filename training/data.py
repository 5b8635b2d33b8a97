"""Pools of clips, made from a seed by several processes, with the same result everywhere."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.music.instruments import RATE
from training.music.piece import Piece, random_piece
from training.music.render import render

SECONDS = 5.0
HELD_OUT_SEED = 10_000_000
"""First pool reserved for measurements, without training on it."""
_CHUNK = 64


@dataclass(frozen=True)
class Pool:
    """Clips and their pieces. `sound`: (clips, samples) float32; `pieces`: one for each clip."""

    pieces: tuple[Piece, ...]
    sound: NDArray[np.float32]


def make_pool(seed: int, clips: int, seconds: float = SECONDS, processes: int = 2) -> Pool:
    """Make a pool; clip i of seed s is always the same."""
    jobs = [(seed, start, min(_CHUNK, clips - start), seconds) for start in range(0, clips, _CHUNK)]
    with ProcessPoolExecutor(processes) as workers:
        parts = list(workers.map(_make, jobs))
    pieces = tuple(piece for part in parts for piece in part.pieces)
    return Pool(pieces, np.concatenate([part.sound for part in parts]))


def _make(job: tuple[int, int, int, float]) -> Pool:
    seed, start, count, seconds = job
    pieces = []
    sound = np.empty((count, round(seconds * RATE)), np.float32)
    for index in range(count):
        rng = np.random.default_rng((seed, start + index))
        piece = random_piece(rng)
        pieces.append(piece)
        sound[index] = render(piece, seconds, rng)
    return Pool(tuple(pieces), sound)
