"""Samples survive the file: in number, order and value, and no call leaves anything behind."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from musicgen.audio.deterministic import read_riff_chunks
from musicgen.audio.encode import content_type, encode, file_extension
from musicgen.audio.pcm import Pcm
from musicgen.audio.tags import AudioTags
from musicgen.errors import GenerationError, InvalidBitDepth, UnknownFormat
from musicgen.request import AudioFormat
from musicgen.request.limits import BIT_DEPTHS, BITRATES, OUTPUT_FORMATS, SAMPLE_RATES

RATE = 32_000
TAGS = AudioTags("a song", 7, "small", "CC-BY-NC-4.0", "musicgen-serverless")
LOSSLESS = [(form, depth) for form in ("wav", "flac") for depth in BIT_DEPTHS]
LARGEST_ERROR = {
    ("wav", "16"): 2**-16,
    ("flac", "16"): 2**-16,
    ("wav", "24"): 2**-24,
    ("flac", "24"): 2**-24,
    ("flac", "float"): 2**-24,
    ("wav", "float"): 0.0,
}


def _decoded(data: bytes) -> tuple[NDArray[np.float64], int]:
    samples, rate = sf.read(io.BytesIO(data), always_2d=True)
    return samples, rate


def _noise(samples: int, channels: int, seed: int = 0, level: float = 0.1) -> Pcm:
    draws = np.random.default_rng(seed).standard_normal((samples, channels))
    return (level * draws).astype(np.float32)


def _sines(samples: int, frequencies: tuple[float, ...], rate: int = RATE) -> Pcm:
    time = np.arange(samples)[:, None] / rate
    return (0.4 * np.sin(2 * np.pi * np.array(frequencies) * time)).astype(np.float32)


def _encode(pcm: Pcm, form: str, depth: str = "16", rate: int = RATE) -> bytes:
    return encode(pcm, AudioFormat(form, depth, sample_rate=rate), TAGS)


@settings(max_examples=30)
@given(
    st.sampled_from(LOSSLESS),
    st.integers(1, 20_000),
    st.integers(1, 2),
    st.sampled_from([16_000, 32_000, 44_100, 48_000]),
)
def test_lossless_formats_keep_every_sample_within_half_a_step_and_the_dither(
    form_and_depth: tuple[str, str], samples: int, channels: int, rate: int
) -> None:
    form, depth = form_and_depth
    pcm = _noise(samples, channels, seed=samples).clip(-0.99, 0.99)
    decoded, decoded_rate = _decoded(_encode(pcm, form, depth, rate))
    assert decoded_rate == rate
    assert decoded.shape == pcm.shape
    dither = 2**-15 if depth == "16" else 0
    assert np.abs(decoded - pcm).max() <= LARGEST_ERROR[form, depth] + dither


@pytest.mark.parametrize(
    ("form", "depth", "subtype"),
    [
        ("wav", "16", "PCM_16"),
        ("wav", "24", "PCM_24"),
        ("wav", "float", "FLOAT"),
        ("flac", "16", "PCM_16"),
        ("flac", "24", "PCM_24"),
        ("flac", "float", "PCM_24"),
        *(("mp3", depth, "MPEG_LAYER_III") for depth in BIT_DEPTHS),
        *(("ogg", depth, "VORBIS") for depth in BIT_DEPTHS),
        *(("opus", depth, "OPUS") for depth in BIT_DEPTHS),
    ],
)
def test_a_format_holds_the_codec_it_names(form: str, depth: str, subtype: str) -> None:
    with sf.SoundFile(io.BytesIO(_encode(_noise(2000, 2), form, depth))) as sound:
        assert sound.subtype == subtype


@settings(max_examples=30)
@given(
    st.sampled_from(["mp3", "ogg", "opus"]),
    st.integers(1, 20_000),
    st.integers(1, 2),
    st.sampled_from([16_000, 32_000, 44_100, 48_000]),
)
def test_lossy_formats_keep_the_number_of_samples(
    form: str, samples: int, channels: int, rate: int
) -> None:
    """Guards the delay and padding of MP3 and the pre-skip of Opus."""
    decoded, decoded_rate = _decoded(_encode(_noise(samples, channels), form, rate=rate))
    expected_rate = 48_000 if form == "opus" else rate
    assert decoded_rate == expected_rate
    assert decoded.shape == (round(samples * expected_rate / rate), channels)


@pytest.mark.parametrize("form", ["mp3", "ogg", "opus"])
@pytest.mark.parametrize("rate", [32_000, 48_000])
def test_lossy_formats_stay_aligned_and_close(form: str, rate: int) -> None:
    """At 1 kHz one sample of delay leaves 18 dB at most, so 26 dB prove that there is none."""
    samples, hz = rate, 1000.0
    decoded, decoded_rate = _decoded(_encode(_sines(samples, (hz, hz), rate), form, rate=rate))
    expected = _sines(len(decoded), (hz, hz), decoded_rate)
    inner = slice(decoded_rate // 10, -decoded_rate // 10)
    error = np.mean((decoded - expected)[inner] ** 2)
    assert 10 * np.log10(np.mean(expected[inner] ** 2) / error) > 26


@pytest.mark.parametrize("bitrate", [None, *BITRATES])
@pytest.mark.parametrize("rate", SAMPLE_RATES)
@pytest.mark.parametrize("channels", [1, 2])
def test_an_mp3_keeps_length_place_and_level_at_any_bitrate(
    bitrate: int | None, rate: int, channels: int
) -> None:
    """LAME takes up to 5 % of the level, and leaves no gapless header where a frame is small.

    A clip of 32 kbit/s was 1536 samples longer, with its music 1105 samples late.
    """
    form = AudioFormat("mp3", bitrate=bitrate, sample_rate=rate)
    sines = _sines(rate // 2 + 77, (997.0,) * channels, rate)
    inner = slice(rate // 10, -rate // 10)
    error = 0.03 if bitrate is not None and bitrate < 64 else 0.005
    for scale in (1, 2.5):  # the second to full scale
        decoded, _ = _decoded(encode(sines * np.float32(scale), form, TAGS))
        assert decoded.shape == sines.shape
        level = np.sum(decoded[inner] * sines[inner]) / np.sum(sines[inner] ** 2)
        assert level == pytest.approx(scale, rel=error)


@pytest.mark.parametrize("form", OUTPUT_FORMATS)
def test_left_and_right_stay_apart_and_in_order(form: str) -> None:
    """Two peers wrote only the left channel, or (channels, samples)."""
    decoded, rate = _decoded(_encode(_sines(RATE, (500, 2000)), form))
    for channel, hz in enumerate((500, 2000)):
        spectrum = np.abs(np.fft.rfft(decoded[:, channel] * np.hanning(len(decoded))))
        assert np.argmax(spectrum) * rate / len(decoded) == pytest.approx(hz, abs=2)
    assert np.abs(decoded[:, 0] - decoded[:, 1]).max() > 0.4


@pytest.mark.parametrize("form", OUTPUT_FORMATS)
@pytest.mark.parametrize("depth", BIT_DEPTHS)
@pytest.mark.parametrize("channels", [1, 2])
def test_channels_keep_their_number(form: str, depth: str, channels: int) -> None:
    with sf.SoundFile(io.BytesIO(_encode(_noise(3000, channels), form, depth))) as sound:
        assert sound.channels == channels


@pytest.mark.parametrize(("form", "depth"), LOSSLESS)
def test_values_beyond_full_scale_are_limited_and_never_wrap(form: str, depth: str) -> None:
    pcm = np.array([[1.5], [-1.5], [1.0], [-1.0], [0.25], [1e9], [-1e9]], np.float32)
    decoded = _decoded(_encode(pcm, form, depth))[0][:, 0]
    if (form, depth) == ("wav", "float"):
        assert np.array_equal(decoded, pcm[:, 0])
        return
    step = 2.0**-15 if depth == "16" else 2.0**-23
    top = 1 - step
    assert decoded.tolist() == [top, -1, top, -1, 0.25, top, -1]


@pytest.mark.parametrize("form", ["mp3", "ogg", "opus"])
def test_lossy_formats_limit_what_they_encode(form: str) -> None:
    loud = _sines(RATE, (440,)) * np.float32(10)
    assert _encode(loud, form) != _encode(loud * np.float32(2), form)
    limited, _ = _decoded(_encode(loud, form))
    assert 0.9 < np.abs(limited).max() < 1.5


def test_integers_are_rounded_to_the_nearest() -> None:
    """libsndfile truncates, and scales by one less than a power of two."""
    steps = np.array([[0.4], [0.6], [-0.4], [-0.6], [99.75], [-99.75]], np.float32)
    decoded, _ = _decoded(_encode(steps * np.float32(2.0**-23), "wav", "24"))
    assert (decoded[:, 0] * 2**23).tolist() == [0, 1, 0, -1, 100, -100]


@pytest.mark.parametrize("form", OUTPUT_FORMATS)
@pytest.mark.parametrize("depth", BIT_DEPTHS)
def test_the_same_arguments_give_the_same_bytes(form: str, depth: str) -> None:
    """Guards the random serial number of an Ogg stream, and the order of axes in memory."""
    pcm = _noise(5000, 2)
    assert _encode(pcm, form, depth) == _encode(pcm.copy(order="F"), form, depth)


def test_the_clock_is_taken_out_of_a_float_wav() -> None:
    """Two calls in the same second would be equal anyway: the stamp itself must be zero."""
    data = _encode(_noise(100, 1), "wav", "float")
    stamps = [
        struct.unpack_from("<I", data, start + 4)[0]
        for name, start, _ in read_riff_chunks(data)
        if name == b"PEAK"
    ]
    assert stamps == [0]


@pytest.mark.parametrize("form", ["ogg", "opus"])
def test_two_ogg_clips_are_two_streams(form: str) -> None:
    """One serial for all would merge clips that a player reads one after the other."""
    first, second = (_encode(_noise(5000, 2, seed), form) for seed in (1, 2))
    assert first[14:18] != second[14:18]


@pytest.mark.parametrize("form", OUTPUT_FORMATS)
@pytest.mark.parametrize("samples", [1, 32_767, 32_768, 32_769, 70_000])
def test_blocks_join_without_a_seam(form: str, samples: int) -> None:
    """Clips are handed to the codec in blocks of 32768 samples."""
    decoded, rate = _decoded(_encode(_sines(samples, (440,)), form))
    assert len(decoded) == round(samples * rate / RATE)
    error = decoded - _sines(len(decoded), (440,), rate)
    assert np.abs(error[2000:-2000]).max(initial=0) < 0.02


@pytest.mark.parametrize("form", OUTPUT_FORMATS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_never_becomes_a_file(form: str, value: float) -> None:
    pcm = _noise(1000, 2)
    pcm[500, 0] = value
    with pytest.raises(GenerationError, match="NaN or infinite"):
        _encode(pcm, form)


@pytest.mark.parametrize("form", OUTPUT_FORMATS)
def test_pcm_with_its_axes_exchanged_is_refused(form: str) -> None:
    """A peer wrote (channels, samples): thousands of channels of two samples."""
    with pytest.raises(ValueError, match=r"\(samples, 1\)"):
        _encode(_noise(1000, 2).T, form)


@pytest.mark.parametrize("form", ["", "WAV", "wave", "m4a"])
def test_an_unknown_format_is_refused_wherever_it_is_named(form: str) -> None:
    calls: list[Any] = [content_type, file_extension, lambda f: _encode(_noise(10, 1), f)]
    for call in calls:
        with pytest.raises(UnknownFormat, match="must be one of wav, flac, mp3, ogg, opus"):
            call(form)


@pytest.mark.parametrize("form", OUTPUT_FORMATS)
@pytest.mark.parametrize("depth", ["", "8", "32", "FLOAT"])
def test_an_unknown_depth_is_refused_even_where_it_would_be_ignored(form: str, depth: str) -> None:
    with pytest.raises(InvalidBitDepth, match="one of 16, 24, float"):
        _encode(_noise(10, 1), form, depth)


@pytest.mark.parametrize("form", OUTPUT_FORMATS)
def test_every_format_has_a_type_and_a_suffix(form: str) -> None:
    assert content_type(form).startswith("audio/")
    assert file_extension(form) == form


def test_encoding_writes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers write out.wav into the working directory, or leave temporary files behind."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    for form in OUTPUT_FORMATS:
        _encode(_noise(5000, 2), form)
    assert [path.name for path in tmp_path.rglob("*")] == ["temporary"]
