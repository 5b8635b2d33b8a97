"""A clip that is heard while it is made: pieces join to one file, in any format that allows it."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.audio.encode import compute_max_size, encode, encode_blocks
from musicgen.audio.live_encoder import LIVE_FORMATS, LiveEncoder
from musicgen.audio.pcm import Pcm
from musicgen.audio.tags import AudioTags
from musicgen.errors import GenerationError, UnknownFormat
from musicgen.request import AudioFormat
from musicgen.request.limits import BIT_DEPTHS, OUTPUT_FORMATS

RATE = 32_000
TAGS = AudioTags("calm piano", 7, "demo", "Apache-2.0", "test")


def _format(output_format: str, depth: str = "16") -> AudioFormat:
    return AudioFormat(output_format, depth, sample_rate=RATE)


def _tone(samples: int, channels: int, loudness: float = 0.5) -> Pcm:
    time = np.arange(samples)[:, None] / RATE
    return (loudness * np.sin(2 * np.pi * 220 * time * np.arange(1, channels + 1))).astype(
        np.float32
    )


def _live(pcm: Pcm, lengths: list[int], output_format: str, depth: str = "16") -> bytes:
    encoder = LiveEncoder(pcm.shape[1], _format(output_format, depth), TAGS)
    ends = [min(end, len(pcm)) for end in np.cumsum([0, *lengths])]
    pieces = [encoder.push(pcm[a:b], False) for a, b in pairwise(ends)]
    return b"".join([*pieces, encoder.push(pcm[ends[-1] :], True)])


def _samples_of_live_wav(data: bytes, depth: str) -> Pcm:
    """Reads the stored samples without believing the lengths in the header."""
    start = data.index(b"data") + 8
    if depth == "16":
        return np.frombuffer(data[start:], "<i2").astype(np.float32) / 2**15
    return np.frombuffer(data[start:], "<f4")


@settings(max_examples=25)
@given(
    lengths=st.lists(st.integers(0, 3000), max_size=5),
    channels=st.sampled_from([1, 2]),
    depth=st.sampled_from(["16", "float"]),
)
def test_a_live_wav_holds_the_samples_of_the_whole_file(
    lengths: list[int], channels: int, depth: str
) -> None:
    pcm = _tone(5000, channels)
    live = _live(pcm, lengths, "wav", depth)
    whole, _ = sf.read(io.BytesIO(encode(pcm, _format("wav", depth), TAGS)), dtype="float32")
    np.testing.assert_array_equal(_samples_of_live_wav(live, depth), whole.ravel())
    assert live[4:8] == b"\xff\xff\xff\xff"


@pytest.mark.parametrize("output_format", ["mp3", "ogg"])
def test_a_live_file_decodes_to_the_tone(output_format: str) -> None:
    pcm = _tone(RATE, 2)
    decoded, rate = sf.read(io.BytesIO(_live(pcm, [1000, 0, 20_000], output_format)))
    assert (rate, decoded.shape[1]) == (RATE, 2)
    assert 0 <= len(decoded) - RATE <= 4000
    peaks = np.abs(np.fft.rfft(decoded, axis=0)).argmax(axis=0) / (len(decoded) / RATE)
    np.testing.assert_allclose(peaks, [220, 440], atol=2)


@pytest.mark.parametrize("output_format", LIVE_FORMATS)
def test_sound_comes_before_the_end(output_format: str) -> None:
    encoder = LiveEncoder(1, _format(output_format), TAGS)
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (RATE, 1)).astype(np.float32)
    assert len(encoder.push(noise, False)) > 4000


@pytest.mark.parametrize("output_format", sorted(set(OUTPUT_FORMATS) - set(LIVE_FORMATS)))
def test_other_formats_are_refused(output_format: str) -> None:
    with pytest.raises(UnknownFormat, match="wav, mp3, ogg"):
        LiveEncoder(1, _format(output_format), TAGS)


def test_beyond_full_scale_is_limited_and_nan_is_refused() -> None:
    encoder = LiveEncoder(1, _format("wav", "float"), TAGS)
    data = encoder.push(np.full((10, 1), 3, np.float32), False)
    assert _samples_of_live_wav(data, "float").max() == 1
    with pytest.raises(GenerationError, match="NaN"):
        encoder.push(np.full((1, 1), np.nan, np.float32), True)


@pytest.mark.parametrize("depth", BIT_DEPTHS)
@pytest.mark.parametrize("output_format", OUTPUT_FORMATS)
def test_blocks_join_to_the_whole_file_of_no_more_than_the_largest_size(
    output_format: str, depth: str
) -> None:
    pcm = np.random.default_rng(2).uniform(-1, 1, (3 * RATE, 2)).astype(np.float32)
    audio_format = _format(output_format, depth)
    blocks = list(encode_blocks(pcm, audio_format, TAGS))
    data = encode(pcm, audio_format, TAGS)
    assert b"".join(blocks) == data
    assert len(data) <= compute_max_size(len(pcm), 2, audio_format)
    assert len(blocks) > 2 or output_format != "wav"


def test_the_tags_of_the_longest_prompt_fit_into_a_header() -> None:
    """A wav's header is written ahead of its samples, from memory of fixed size."""
    tags = AudioTags("\U0001f3b9" * 2000, 7, "demo", "Apache-2.0", "test")
    pcm = _tone(40_000, 1)
    data = b"".join(encode_blocks(pcm, _format("wav", "float"), tags))
    decoded, _ = sf.read(io.BytesIO(data), dtype="float32")
    np.testing.assert_array_equal(decoded, pcm[:, 0])


@pytest.mark.parametrize("bitrate", [64, 192, None])
def test_a_live_mp3_keeps_the_level(bitrate: int | None) -> None:
    tone = _tone(RATE, 1)
    encoder = LiveEncoder(1, AudioFormat("mp3", bitrate=bitrate, sample_rate=RATE), TAGS)
    decoded, _ = sf.read(io.BytesIO(encoder.push(tone, True)), always_2d=True)
    inner = slice(RATE // 4, RATE // 2)
    rms = np.sqrt(np.mean(decoded[inner] ** 2))
    assert rms == pytest.approx(np.sqrt(np.mean(tone[inner] ** 2)), rel=0.005)
