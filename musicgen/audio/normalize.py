"""Normalize the level of a clip by the five strategies of audiocraft's `audio_write`.

The targets are audiocraft's (`audiocraft/data/audio_utils.py`). The edge cases differ: audiocraft
divides by zero for silence and anti-phase stereo, and fills the file with NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from musicgen.audio.loudness import BLOCK_SECONDS, OFFSET_LU, measure_loudness
from musicgen.audio.pcm import Pcm, require_finite
from musicgen.errors import UnknownStrategy
from musicgen.notes import ResultNote
from musicgen.request.limits import LOUDNESS_DEFAULT_LUFS, NORMALIZATION_STRATEGIES

TARGET_LUFS = LOUDNESS_DEFAULT_LUFS
TARGET_RMS = 10 ** (-18 / 20)
CEILING = 10 ** (-1 / 20)
"""1 dB below full scale: the target of "peak" and the limit of "clip"."""
QUIET_RMS = 2e-3
"""Below this RMS (-54 dBFS) "loudness" keeps the level: it would only amplify noise."""
SILENT_PEAK = 1e-6
"""-120 dBFS. A clip below this peak is rounding noise; no strategy amplifies it."""
ANTI_PHASE_RATIO = 0.1
"""Channels cancel where their mean is 20 dB below them: "rms" then measures each channel."""


@dataclass(frozen=True, eq=False)
class Normalized:
    """Clip at its final level.

    `pcm` (samples, channels); `loudness_lufs` and `peak` (linear, 1 is full scale) are measured
    on it; `clipped_samples` counts the values of all channels beyond the limit of the strategy;
    `notes` describe anything unusual to a person.
    """

    pcm: Pcm
    loudness_lufs: float | None
    peak: float
    clipped_samples: int
    notes: tuple[ResultNote, ...] = ()


def normalize(
    pcm: Pcm, sample_rate: int, strategy: str, target_lufs: float = TARGET_LUFS
) -> Normalized:
    """Scale and limit a copy of `pcm` (samples, channels).

    * "loudness": to `target_lufs` integrated, then limited to full scale. A clip with an RMS below
      2e-3 keeps its level. A clip shorter than 0.4 s has no loudness and is scaled by its RMS.
    * "peak": to a peak of -1 dBFS.
    * "rms": the RMS of the channel mean to -18 dBFS, then limited to full scale. Where the
      channels cancel in their mean (anti-phase), the RMS over all channels counts.
    * "clip": limited to -1 dBFS, not scaled.
    * "none": unchanged; values beyond full scale are counted, because integer formats limit them.

    Silence stays silence. Raises: `GenerationError` for NaN or infinity; `UnknownStrategy`.
    """
    if strategy not in NORMALIZATION_STRATEGIES:
        raise UnknownStrategy.for_choice(
            "normalization_strategy", strategy, NORMALIZATION_STRATEGIES
        )
    require_finite(pcm)
    gain, note = _gain(pcm, sample_rate, strategy, target_lufs)
    limit = CEILING if strategy == "clip" else 1.0
    scaled = pcm * np.float32(gain)
    clipped = int(np.count_nonzero(np.abs(scaled) > np.float32(limit)))
    if strategy != "none":
        scaled = scaled.clip(-limit, limit)
    notes = [note] if note else []
    if clipped and strategy == "none":
        notes.append(ResultNote("beyond_full_scale", count=clipped))
    elif clipped and strategy != "clip":
        notes.append(ResultNote("limited", count=clipped))
    return Normalized(
        scaled,
        measure_loudness(scaled, sample_rate),
        _peak(scaled),
        clipped,
        tuple(notes),
    )


def _gain(
    pcm: Pcm, sample_rate: int, strategy: str, target_lufs: float
) -> tuple[float, ResultNote | None]:
    """Return the linear gain of `strategy`, and a note where it is unusual."""
    if strategy in ("clip", "none"):
        return 1.0, None
    peak = _peak(pcm)
    if peak < SILENT_PEAK:
        return 1.0, ResultNote("silent")
    if strategy == "peak":
        return CEILING / peak, None
    if strategy == "rms":
        return _rms_gain(pcm)
    return _loudness_gain(pcm, sample_rate, target_lufs)


def _rms_gain(pcm: Pcm) -> tuple[float, ResultNote | None]:
    mixed, separate = _rms(pcm.mean(axis=1, dtype=np.float64)), _rms(pcm)
    if mixed < ANTI_PHASE_RATIO * separate:
        return TARGET_RMS / separate, ResultNote("out_of_phase")
    return TARGET_RMS / mixed, None


def _loudness_gain(
    pcm: Pcm, sample_rate: int, target_lufs: float
) -> tuple[float, ResultNote | None]:
    rms = _rms(pcm)
    if rms < QUIET_RMS:
        return 1.0, ResultNote("almost_silent")
    loudness = measure_loudness(pcm, sample_rate)
    if loudness is not None:
        return 10 ** ((target_lufs - loudness) / 20), None
    if len(pcm) >= BLOCK_SECONDS * sample_rate:
        return 1.0, ResultNote("inaudible")
    unweighted = OFFSET_LU + 20 * math.log10(rms) + 10 * math.log10(pcm.shape[1])
    note = ResultNote("no_loudness", seconds=BLOCK_SECONDS)
    return 10 ** ((target_lufs - unweighted) / 20), note


def _peak(pcm: Pcm) -> float:
    return float(np.abs(pcm).max(initial=0.0))


def _rms(values: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> float:
    return math.sqrt(float(np.square(values, dtype=np.float64).sum()) / max(values.size, 1))
