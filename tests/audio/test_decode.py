"""Files of callers are read right: every sample, in every container and any part."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st

from musicgen.audio.decode import read_audio, to_channels
from musicgen.errors import InvalidContinuation
from tests.support.audio_files import (
    LOSSLESS,
    assert_refused,
    encode_file,
    make_flac_claiming,
    make_sines,
)
from tests.support.clips import RATE, tone_file


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
def test_lossless_files_give_back_every_sample(
    upload: Path, kind: str, channels: int, rate: int
) -> None:
    pcm = make_sines(5000, channels, rate)
    upload.write_bytes(encode_file(kind, pcm, rate))
    read, read_rate = read_audio(upload)
    assert read_rate == rate
    assert read.dtype == np.float32
    assert read.shape == pcm.shape
    assert np.abs(read - pcm).max() <= 2**-15


@pytest.mark.parametrize("kind", ["mp3", "ogg", "opus"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_lossy_files_give_back_every_channel(
    upload: Path, kind: str, channels: int, rate: int
) -> None:
    pcm = make_sines(rate, channels, rate)
    upload.write_bytes(encode_file(kind, pcm, rate))
    read, read_rate = read_audio(upload)
    assert read_rate == rate
    assert read.shape == pcm.shape
    inner = slice(rate // 10, -rate // 10)
    assert np.abs(read - pcm)[inner].max() < 0.05


def test_a_file_longer_than_a_block_is_read_to_its_end(upload: Path) -> None:
    pcm = make_sines(2**16 * 2 + 1, 2, 48_000)
    upload.write_bytes(encode_file("wav-float", pcm, 48_000))
    read, _ = read_audio(upload)
    assert np.array_equal(read, pcm)


def test_floats_beyond_full_scale_are_kept(upload: Path) -> None:
    pcm = 10 * make_sines(1000, 1, 8_000)
    upload.write_bytes(encode_file("wav-float", pcm, 8_000))
    assert np.array_equal(read_audio(upload)[0], pcm)


@pytest.mark.parametrize("name", ["clip.raw", "clip.jpg", "clip", "clip.wav.mp3", "Müsik 🎵.wav"])
def test_the_name_does_not_matter(tmp_path: Path, name: str) -> None:
    """soundfile reads a name that ends in .raw as headerless samples, and then asks for a rate."""
    path = tmp_path / name
    path.write_bytes(encode_file("flac", make_sines(100, 1, 8_000), 8_000))
    assert read_audio(path)[0].shape == (100, 1)


@given(
    samples=st.integers(1, 3000), start=st.floats(0, 0.4), length=st.none() | st.floats(0.001, 0.4)
)
def test_a_part_is_that_part_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, samples: int, start: float, length: float | None
) -> None:
    path = tmp_path_factory.mktemp("part") / "a.wav"
    whole = np.random.default_rng(samples).normal(0, 0.1, (samples, 2)).astype(np.float32)
    sf.write(path, whole, 8000, subtype="FLOAT")
    stop = None if length is None else start + length
    first, last = round(start * 8000), samples if stop is None else round(stop * 8000)
    if first >= samples:
        with pytest.raises(InvalidContinuation, match="before the end of the clip"):
            read_audio(path, start=start, stop=stop)
        return
    if last <= first:
        return
    pcm, _ = read_audio(path, start=start, stop=stop)
    np.testing.assert_array_equal(pcm, whole[first:last])


def test_reading_takes_and_leaves_no_file_descriptor(upload: Path) -> None:
    """soundfile once closed the descriptor too: the second close hit a stranger's file, or
    failed, and a good file was refused as "Bad file descriptor"."""
    good = encode_file("wav", make_sines(1000, 2, 8_000), 8_000)
    stranger = upload.with_name("stranger")
    stranger.write_bytes(b"kept")
    with stranger.open("rb") as other:
        descriptors = set(Path("/proc/self/fd").iterdir())
        for content in (good, b"not audio " * 99, good, make_flac_claiming(2**20), good):
            upload.write_bytes(content)
            for _ in range(2):
                if content is good:
                    assert len(read_audio(upload)[0]) == 1000
                else:
                    assert_refused(upload, "not readable audio")
        assert set(Path("/proc/self/fd").iterdir()) == descriptors
        assert other.read() == b"kept"


def test_threads_do_not_close_each_other_s_files(upload: Path) -> None:
    paths = []
    for index in range(8):
        path = upload.with_name(f"{index}.wav")
        path.write_bytes(encode_file("wav-float", np.full((500, 1), index / 10, np.float32), 8_000))
        paths.append(path)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            for index, (pcm, _rate) in enumerate(pool.map(read_audio, paths)):
                assert np.all(pcm == np.float32(index / 10))


def test_the_same_number_of_channels_is_left_alone() -> None:
    for channels in (1, 2, 6):
        pcm = make_sines(10, channels, 8_000)
        assert to_channels(pcm, channels) is pcm


@pytest.mark.parametrize(("have", "want"), [(1, 2), (2, 1), (6, 2), (6, 1), (3, 2)])
def test_other_numbers_of_channels_are_the_mean_repeated(have: int, want: int) -> None:
    pcm = make_sines(100, have, 8_000)
    mixed = to_channels(pcm, want)
    assert mixed.shape == (100, want)
    assert mixed.dtype == np.float32
    for channel in range(want):
        assert np.allclose(mixed[:, channel], pcm.mean(axis=1), atol=1e-7)


@pytest.mark.parametrize("is_foreign", [False, True])
def test_a_start_beyond_all_numbers_is_refused_as_one_after_the_end(
    tmp_path: Path, is_foreign: bool
) -> None:
    """Its samples are infinite: a caller's 1e308 seconds were an error of the server."""
    path = tone_file(tmp_path / "a.wav", 0.5)
    with pytest.raises(InvalidContinuation, match=r"before the end of the clip at 0\.50 s"):
        read_audio(path, start=1e308, stop=1e308, is_foreign=is_foreign)
    assert len(read_audio(path, stop=1e308, is_foreign=is_foreign)[0]) == RATE // 2
