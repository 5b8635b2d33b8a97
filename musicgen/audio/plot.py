"""Plot a clip: the waveform of each channel above a spectrogram with musical spacing."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from musicgen.audio.pcm import Pcm
from musicgen.errors import MissingDependency

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Grid: TypeAlias = NDArray[np.float32]

COLUMNS = 1600
"""Width of waveform and spectrogram, in moments."""
ROWS = 480
LOWEST_HZ = 40.0
RANGE_DB = 80.0
WINDOWS_SECONDS = (0.125, 0.03)
"""The long window separates neighbouring notes above middle C, the short one drum attacks."""

_TICKS_HZ = (50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000)
_INK, _FAINT, _WAVE, _CORE = "#1d2433", "#8a93a6", "#7f9cf5", "#3c4fbf"
_CHANNELS = {1: ("mono",), 2: ("left", "right")}


def plot_clip(pcm: Pcm, sample_rate: int, path: Path, title: str) -> None:
    """Draw `pcm` (samples, 1 or 2 channels) as a PNG, written whole or not at all.

    Missing folders are created. Raises: `MissingDependency` without matplotlib; OSError when `path`
    cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependency("matplotlib", "--plot", "plot") from error
    channels = pcm.shape[1]
    figure = Figure(figsize=(13, 5.4 + 1.1 * channels), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    # The colour bar has a column of its own, so all time axes have the same width.
    grid = figure.add_gridspec(
        channels + 1, 2, height_ratios=[1] * channels + [4], width_ratios=[1, 0.013]
    )
    spectrum_axes = figure.add_subplot(grid[channels, 0])
    for channel, name in enumerate(_CHANNELS[channels]):
        axes = figure.add_subplot(grid[channel, 0], sharex=spectrum_axes)
        _draw_waveform(axes, pcm[:, channel], sample_rate, name)
        if channel == 0:
            _draw_title(axes, title, len(pcm) / sample_rate, sample_rate, channels)
    bar = figure.add_subplot(grid[channels, 1])
    _draw_spectrogram(figure, spectrum_axes, bar, pcm, sample_rate)
    _save(figure, path)


def spectrogram(pcm: Pcm, sample_rate: int) -> tuple[Grid, NDArray[np.float64]]:
    """Return the spectrum of the channel mean over time, at logarithmic frequencies.

    It is the minimum of a long and a short window: the long one separates neighbouring notes, the
    short one neighbouring beats, and their minimum both.

    Returns the level in dB (0 is a sine at full scale), of shape (480 frequencies, 1600 moments or
    fewer), and the frequencies in Hz, from 40 Hz to half of `sample_rate`.
    """
    mono = pcm.mean(axis=1)
    frequencies = np.geomspace(LOWEST_HZ, sample_rate / 2, ROWS)
    level = np.minimum(*(
        _transform(mono, 1 << round(math.log2(seconds * sample_rate)), frequencies / sample_rate)
        for seconds in WINDOWS_SECONDS
    ))  # fmt: skip
    return 20 * np.log10(np.maximum(level, 1e-7)), frequencies


def _transform(mono: Grid, window: int, frequencies: NDArray[np.float64]) -> Grid:
    """Return amplitudes (frequencies, moments) through a Hann window; frequencies per sample."""
    moments = np.linspace(0, len(mono) - 1, min(COLUMNS, len(mono))).astype(int)
    padded = np.pad(mono, window // 2)
    shape = np.hanning(window).astype(np.float32)
    # A transform longer than the window interpolates between bins; low notes need it.
    size = 4 * window
    columns = [
        _sample_bins(
            np.abs(np.fft.rfft(padded[start : start + window] * shape, size)), frequencies * size
        )
        for start in moments
    ]
    magnitudes: Grid = np.stack(columns, axis=1) * np.float32(2 / shape.sum())
    return magnitudes


def _sample_bins(magnitude: NDArray[np.floating], bins: NDArray[np.float64]) -> Grid:
    """Sample `magnitude` at fractional `bins` without losing a thin line.

    Dense bins are interpolated; sparse bins take the maximum of the skipped ones.
    """
    interpolated = np.interp(bins, np.arange(len(magnitude)), magnitude)
    first = np.minimum(bins.astype(int), len(magnitude) - 1)
    peaks = np.maximum.reduceat(magnitude, first)
    values: Grid = np.maximum(interpolated, peaks).astype(np.float32)
    return values


def _draw_title(axes: Axes, title: str, seconds: float, rate: int, channels: int) -> None:
    line = " ".join(title.split())
    line = line if len(line) <= 90 else line[:89] + "…"
    kind = "mono" if channels == 1 else "stereo"
    # Dollar signs of a prompt are not mathematics.
    axes.set_title(
        line, loc="left", fontsize=14, fontweight="bold", color=_INK, pad=12, parse_math=False
    )
    axes.set_title(
        f"{seconds:.1f} s · {kind} · {rate / 1000:g} kHz", loc="right", color=_FAINT, pad=12
    )


def _draw_waveform(axes: Axes, channel: NDArray[np.float32], rate: int, name: str) -> None:
    """Draw the extremes of each column in a light tone, its RMS in a dark one."""
    edges = np.linspace(0, len(channel), min(COLUMNS, len(channel)) + 1).astype(int)
    low, high = (extreme.reduceat(channel, edges[:-1]) for extreme in (np.minimum, np.maximum))
    energy = np.add.reduceat(np.square(channel, dtype=np.float64), edges[:-1])
    rms = np.sqrt(energy / np.diff(edges))
    moments = (edges[:-1] + edges[1:]) / 2 / rate
    axes.fill_between(moments, low, high, color=_WAVE, linewidth=0.4)
    axes.fill_between(moments, -rms, rms, color=_CORE, linewidth=0)
    axes.axhline(0, color=_INK, linewidth=0.5, alpha=0.5)
    reach = max(1.0, float(np.abs(channel).max()))
    axes.set_ylim(-1.05 * reach, 1.05 * reach)
    axes.set_yticks([-1, 0, 1])
    axes.set_ylabel(name, color=_INK)
    axes.tick_params(labelbottom=False, bottom=False, colors=_FAINT)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(_FAINT)


def _draw_spectrogram(figure: Figure, axes: Axes, bar: Axes, pcm: Pcm, rate: int) -> None:
    level, frequencies = spectrogram(pcm, rate)
    top = max(10 * math.ceil(float(level.max()) / 10), -40)
    low, high = math.log10(frequencies[0]), math.log10(frequencies[-1])
    seconds = len(pcm) / rate
    image = axes.imshow(
        level, origin="lower", aspect="auto", cmap="magma", vmin=top - RANGE_DB, vmax=top,
        extent=(0.0, seconds, low, high), interpolation="bilinear",
    )  # fmt: skip
    ticks = [hz for hz in _TICKS_HZ if frequencies[0] <= hz <= frequencies[-1]]
    axes.set_yticks(
        [math.log10(hz) for hz in ticks],
        [f"{hz // 1000} k" if hz >= 1000 else str(hz) for hz in ticks],
    )
    axes.set_ylabel("frequency (Hz)", color=_INK)
    axes.set_xlabel("time (s)", color=_INK)
    axes.set_xlim(0, seconds)
    axes.tick_params(colors=_INK)
    axes.spines[:].set_visible(False)
    scale = figure.colorbar(image, cax=bar)
    scale.set_label("level (dB of a full-scale sine)", color=_INK)
    scale.outline.set_visible(False)
    bar.tick_params(colors=_INK)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid4().hex}.png")
    try:
        figure.savefig(temporary, format="png", facecolor="white")
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
