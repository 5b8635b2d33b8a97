"""A clip stands before what was made behind it, sample for sample."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from musicgen.audio.crossfade import CROSSFADE_SECONDS, Crossfade

RATE = 1000
FADE = round(CROSSFADE_SECONDS * RATE)


@given(
    length=st.integers(1, 400),
    offset=st.integers(0, 399),
    made=st.integers(0, 300),
    cuts=st.lists(st.integers(0, 700), max_size=5),
)
def test_the_clip_is_untouched_up_to_the_crossfade_however_it_is_pushed(
    length: int, offset: int, made: int, cuts: list[int]
) -> None:
    offset = min(offset, length - 1)
    rng = np.random.default_rng(length)
    clip = rng.normal(size=(length, 2)).astype(np.float32)
    heard = length - offset
    copy = rng.normal(size=(heard + made, 2)).astype(np.float32)
    crossfade = Crossfade(clip, offset, RATE)
    pieces = np.split(copy, sorted(min(cut, len(copy)) for cut in cuts))
    found = np.concatenate([crossfade.push(piece) for piece in pieces if len(piece)])
    assert len(found) == length + made
    fade = min(FADE, heard)
    np.testing.assert_array_equal(found[: length - fade], clip[: length - fade])
    np.testing.assert_array_equal(found[length:], copy[heard:])
    between = slice(length - fade, length)
    low, high = (
        pick(clip[between], copy[heard - fade : heard]) for pick in (np.minimum, np.maximum)
    )
    assert (found[between] >= low - 1e-6).all() and (found[between] <= high + 1e-6).all()


def test_a_true_copy_leaves_no_trace() -> None:
    wave = np.sin(np.arange(2000) / 7).astype(np.float32)[:, None]
    found = Crossfade(wave[:1200], 300, RATE).push(wave[300:])
    np.testing.assert_allclose(found, wave, atol=1e-6)
