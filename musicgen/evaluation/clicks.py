"""Whether one hears where a stream's pieces meet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from musicgen.evaluation.measures import Sound

NEIGHBOURHOOD_SECONDS = 0.02
_AUDIBLE = 1e-4
"""A jump of -80 dBFS."""


def clicks(sound: Sound, borders: Sequence[int], rate: int) -> int:
    """How many borders there are at which `sound` bends twice as much as anywhere within 20 ms.

    `borders`: index of the first sample of each piece but the first. The bend is the second
    difference; where a waveform goes on as before, a border has no more of it than other places.
    """
    bend = np.abs(np.diff(sound, 2, prepend=0, append=0))
    width = round(NEIGHBOURHOOD_SECONDS * rate)
    found = 0
    for border in borders:
        here = bend[border - 1 : border + 1].max()
        before = bend[max(0, border - width) : border - 1]
        after = bend[border + 1 : border + width]
        found += bool(here > max(2 * np.concatenate([before, after]).max(initial=0), _AUDIBLE))
    return found
