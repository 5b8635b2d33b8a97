"""The picture is a whole PNG or none, and shows each frequency where its axis says."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.audio import plot
from musicgen.audio.pcm import Pcm
from musicgen.audio.plot import plot_clip, spectrogram
from musicgen.errors import MissingDependency

RATE = 32_000
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """A spectrum for each of 1600 moments takes a second; fewer show the same."""
    monkeypatch.setattr(plot, "COLUMNS", 64)


def _sines(samples: int, *frequencies: float, level: float = 0.5) -> Pcm:
    time = np.arange(samples)[:, None] / RATE
    return (level * np.sin(2 * np.pi * np.array(frequencies) * time)).astype(np.float32)


def _assert_is_whole_png(path: Path) -> None:
    picture = path.read_bytes()
    assert picture.startswith(PNG)
    assert b"IEND" in picture[-12:]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    "pcm",
    [_sines(RATE, 440, 660), _sines(1, 440, 660), np.zeros((RATE, 2), np.float32)],
    ids=["sines", "one sample", "silence"],
)
def test_any_clip_gives_one_png_and_nothing_else(tmp_path: Path, pcm: Pcm, channels: int) -> None:
    path = tmp_path / "clip.png"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Of whatever an earlier test left to be collected while this one runs.
        warnings.simplefilter("ignore", ResourceWarning)
        plot_clip(pcm[:, :channels], RATE, path, "a title")
    _assert_is_whole_png(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_title_is_text_and_never_mathematics(tmp_path: Path) -> None:
    """matplotlib would take "$...$" for TeX and refuse what it cannot parse."""
    plot_clip(_sines(RATE // 10, 440), RATE, tmp_path / "clip.png", "a $\\frac{$ of\nmusic")
    _assert_is_whole_png(tmp_path / "clip.png")


def test_stereo_shows_one_waveform_more_than_mono(tmp_path: Path) -> None:
    heights = []  # in pixels, from the header of the PNG
    for channels in (1, 2):
        path = tmp_path / f"{channels}.png"
        plot_clip(_sines(RATE // 10, *[440.0] * channels), RATE, path, "title")
        heights.append(int.from_bytes(path.read_bytes()[20:24], "big"))
    assert heights[1] > heights[0]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "clip.png"
    plot_clip(_sines(100, 440), RATE, path, "title")
    _assert_is_whole_png(path)


def test_an_earlier_picture_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "clip.png"
    path.write_bytes(b"old")
    plot_clip(_sines(100, 440), RATE, path, "title")
    _assert_is_whole_png(path)


def test_a_folder_that_is_a_file_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    with pytest.raises(OSError, match="file"):
        plot_clip(_sines(100, 440), RATE, tmp_path / "file" / "clip.png", "title")
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_a_failing_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    def fail_halfway(_self: object, path: Path, **_options: object) -> None:
        path.write_bytes(PNG)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", fail_halfway)
    (tmp_path / "clip.png").write_bytes(b"old")
    with pytest.raises(OSError, match="No space left"):
        plot_clip(_sines(100, 440), RATE, tmp_path / "clip.png", "title")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_without_matplotlib_the_extra_is_named_and_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependency, match=r"\.\[plot\]") as caught:
        plot_clip(_sines(100, 440), RATE, tmp_path / "clip.png", "title")
    assert caught.value.package == "matplotlib"
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=15)
@given(st.floats(60, 14_000), st.floats(0.01, 1.0))
def test_a_sine_is_brightest_at_its_frequency_and_at_its_level(hz: float, level: float) -> None:
    shown, frequencies = spectrogram(_sines(RATE // 2, hz, level=level), RATE)
    middle = shown[:, shown.shape[1] // 2]
    step = frequencies[1] / frequencies[0]
    width = 2.0 * RATE / 4096  # what the window smears, in Hz
    brightest = frequencies[np.argmax(middle)]
    assert hz / step - width < brightest < hz * step + width
    assert middle.max() == pytest.approx(20 * np.log10(level), abs=1.0)


def test_a_click_is_shown_when_it_happens() -> None:
    pcm = np.zeros((RATE * 2, 1), np.float32)
    pcm[RATE // 2] = 1
    shown, _ = spectrogram(pcm, RATE)
    loudest = np.argmax(shown.mean(axis=0)) / shown.shape[1] * 2
    assert loudest == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize("samples", [1, 2, 100, RATE])
def test_silence_is_the_floor_of_the_spectrogram(samples: int) -> None:
    shown, frequencies = spectrogram(np.zeros((samples, 2), np.float32), RATE)
    assert np.allclose(shown, -140, atol=0.01)
    assert shown.shape[0] == len(frequencies)
    assert (frequencies[0], frequencies[-1]) == pytest.approx((40, RATE / 2))
