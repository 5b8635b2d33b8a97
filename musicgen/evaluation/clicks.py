"""Audible clicks between the pieces of a stream."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from musicgen.evaluation.measures import Sound

NEIGHBOURHOOD_SECONDS = 0.02
_AUDIBLE = 1e-4
"""A jump of -80 dBFS."""


def count_clicks(sound: Sound, borders: Sequence[int], rate: int) -> int:
    """Count the borders with twice the bend of any sample within 20 ms.

    `borders`: index of the first sample of each piece, without the first piece. The bend is the
    second difference; in a continuous waveform it is no larger at a border than elsewhere.
    """
    bend = np.abs(np.diff(sound, 2, prepend=0, append=0))
    width = round(NEIGHBOURHOOD_SECONDS * rate)
    count = 0
    for border in borders:
        here = bend[border - 1 : border + 1].max()
        before = bend[max(0, border - width) : border - 1]
        after = bend[border + 1 : border + width]
        count += bool(here > max(2 * np.concatenate([before, after]).max(initial=0), _AUDIBLE))
    return count
