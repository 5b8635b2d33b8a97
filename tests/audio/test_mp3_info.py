"""Players find the ends of an MP3 in its info frame."""

from __future__ import annotations

import numpy as np
import pytest

from musicgen.audio.encode import encode
from musicgen.audio.mp3_frames import read_frame, skip_tag
from musicgen.audio.mp3_info import add_info, compute_crc
from musicgen.audio.pcm import Pcm
from musicgen.audio.tags import AudioTags
from musicgen.request import AudioFormat
from tests.support.ffmpeg_files import decode_with_ffmpeg

TAGS = AudioTags("calm piano", 7, "demo", "Apache-2.0", "test")
LAME_AT = 120
"""Bytes before LAME's fields; its delays, length and CRCs stand 21, 28, 32 and 34 after that."""


def _make_noise(samples: int, channels: int) -> Pcm:
    draws = np.random.default_rng(0).standard_normal((samples, channels))
    return (0.1 * draws).astype(np.float32)


@pytest.mark.parametrize("rate", [16_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_info_is_that_of_lame(rate: int, channels: int) -> None:
    """At 64 kbit/s LAME writes its own, which is taken away here."""
    samples = rate + 77
    form = AudioFormat("mp3", bitrate=64, sample_rate=rate)
    file = encode(_make_noise(samples, channels), form, TAGS)
    file = file[skip_tag(file, 0) :]
    theirs = read_frame(file, 0)
    assert theirs is not None
    made = add_info(file[theirs.size :], samples, 64)
    assert len(made) == len(file)
    # The fourth byte tells how the channels of the next frame are joined.
    assert made[:3] == file[:3]
    lame = theirs.info_at + LAME_AT
    # Name, frames, bytes; encoder; bitrate, delays; length and CRC of the music.
    for start, stop in (
        (theirs.info_at, theirs.info_at + 16),
        (lame, lame + 10),
        (lame + 20, lame + 24),
        (lame + 28, lame + 34),
    ):
        assert made[start:stop] == file[start:stop]
    for data in (made, file):
        assert compute_crc(data[: lame + 34]) == int.from_bytes(data[lame + 34 : lame + 36], "big")
    assert made[theirs.size :] == file[theirs.size :]
    assert add_info(file, samples, 64) == file


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (32_000, 1), (48_000, 2)])
def test_ffmpeg_finds_the_ends_of_a_clip_of_few_bits(rate: int, channels: int) -> None:
    pcm = _make_noise(rate + 77, channels)
    file = encode(pcm, AudioFormat("mp3", bitrate=32, sample_rate=rate), TAGS)
    decoded, found = decode_with_ffmpeg(file)
    assert (decoded.shape, found) == (pcm.shape, rate)
