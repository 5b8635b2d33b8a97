"""Post-process generated audio: sample rate, loop, silence, fades and level."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from musicgen.audio.loudness import (
    HOPS_PER_SECOND,
    measure_gated_loudness,
    measure_hop_power,
    samples_per_hop,
)
from musicgen.audio.normalize import Normalized, normalize
from musicgen.audio.pcm import Pcm, require_finite
from musicgen.audio.resample import resample
from musicgen.request import GenerationRequest
from musicgen.request.limits import SEAM_SECONDS

CROSSFADE_SECONDS = 0.1
SILENCE_DB = -50.0
"""Threshold of silence, relative to the loudest hundredth of a second."""
_BLOCK_SECONDS, _MARGIN_SECONDS = 0.01, 0.01
_BLOCK_SAMPLES = 2**18
DRIFT_SECONDS = 30.0
"""Level changes within this time are music; slower ones are a drift of the model."""
DRIFT_MAX_DB = 12.0
REST_DB = -20.0
"""Relative to the whole clip: a passage below this level is quiet on purpose."""
_DRIFT_PASSES = 2


def finish_clip(pcm: Pcm, sample_rate: int, request: GenerationRequest) -> Normalized:
    """Post-process `pcm` (samples, channels), generated at `sample_rate`.

    The clip has the rate and level of `request`, and round(request.seconds * rate) samples unless
    silence is trimmed. A clip of several sections keeps the levels of its sections.
    """
    return set_level(shape_clip(pcm, sample_rate, request), sample_rate, request)


def shape_clip(pcm: Pcm, sample_rate: int, request: GenerationRequest) -> Pcm:
    """Return `pcm` as in `finish_clip`, before its level is set."""
    require_finite(pcm)
    rate = request.sample_rate or sample_rate
    pcm = resample(pcm, sample_rate, rate)
    length = round(request.seconds * rate)
    pcm = make_loop(pcm, rate, length) if request.loop else pcm[:length]
    if request.trim_silence:
        pcm = trim_silence(pcm, rate)
    is_scaled = request.normalization_strategy not in ("none", "clip")
    if request.steady_level and is_scaled and request.sections is None:
        pcm = steady_level(pcm, rate)
    return apply_fades(pcm, round(request.fade_in * rate), round(request.fade_out * rate))


def set_level(
    pcm: Pcm,
    sample_rate: int,
    request: GenerationRequest,
    margin_db: float = 0.0,
    boost_lu: float = 0.0,
) -> Normalized:
    """Return a shaped clip, generated at `sample_rate`, at the level of `request`.

    `margin_db` lowers the ceiling of the true peak, `boost_lu` raises the loudness aimed at.
    """
    return normalize(
        pcm,
        request.sample_rate or sample_rate,
        request.normalization_strategy,
        request.target_loudness,
        request.true_peak_ceiling - margin_db,
        request.loop,
        boost_lu,
    )


def make_loop(pcm: Pcm, sample_rate: int, length: int) -> Pcm:
    """Return a loop of `length` samples from `pcm`, longer by `SEAM_SECONDS`.

    The music after the end is crossfaded into the beginning. The cut lies within ten milliseconds,
    at the smallest step of the waveform.
    """
    crossfade = min(round(CROSSFADE_SECONDS * sample_rate), length // 2)
    room = max(0, len(pcm) - length - crossfade)
    most = min(room, round((SEAM_SECONDS - CROSSFADE_SECONDS) * sample_rate))
    around = pcm[length - 1 : length + most + 1]
    shift = int(np.abs(np.diff(around, axis=0)).max(axis=1).argmin())
    clip: Pcm = pcm[shift : shift + length].copy()
    tail = pcm[shift + length :][:crossfade]
    # Equal power: the beginning and the music after the end are uncorrelated.
    angle = np.linspace(0, np.pi / 2, len(tail), endpoint=False, dtype=np.float32)[:, None]
    clip[: len(tail)] *= np.sin(angle)
    clip[: len(tail)] += tail * np.cos(angle)
    return clip


def trim_silence(pcm: Pcm, sample_rate: int) -> Pcm:
    """Return `pcm` without silence at its ends; a silent clip is returned unchanged."""
    block = round(_BLOCK_SECONDS * sample_rate)
    starts = np.arange(0, len(pcm), block)
    power = np.add.reduceat(np.square(pcm, dtype=np.float64).sum(axis=1), starts)
    if not power.any():
        return pcm
    loud = np.flatnonzero(power > power.max() * 10 ** (SILENCE_DB / 10))
    margin = round(_MARGIN_SECONDS * sample_rate)
    start = max(0, int(starts[loud[0]]) - margin)
    return pcm[start : int(starts[loud[-1]]) + block + margin]


def steady_level(pcm: Pcm, sample_rate: int) -> Pcm:
    """Return `pcm` without level drifts slower than `DRIFT_SECONDS`.

    Shorter clips are returned unchanged. Long music is generated window after window from its own
    past, and tends to become louder and louder.
    """
    if len(pcm) <= DRIFT_SECONDS * sample_rate:
        return pcm
    decibels = measure_drift(measure_hop_power(pcm, sample_rate))
    hop = samples_per_hop(sample_rate)
    centres = (np.arange(len(decibels)) + 0.5) * hop
    result = np.empty_like(pcm)
    for start in range(0, len(pcm), _BLOCK_SAMPLES):
        part = pcm[start : start + _BLOCK_SAMPLES]
        gain = np.interp(np.arange(start, start + len(part)), centres, -decibels)
        result[start : start + len(part)] = part * (10 ** (gain / 20)).astype(np.float32)[:, None]
    return result


def measure_drift(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the level of each hop in decibels above the whole clip, over `DRIFT_SECONDS`.

    `power` (hops,) comes from `measure_hop_power`; the result has the same shape.
    """
    block = round(DRIFT_SECONDS * HOPS_PER_SECOND)
    starts = [*range(0, len(power) - block, block // 2), len(power) - block]
    drift = np.zeros(len(power))
    whole = measure_gated_loudness(power)
    # The second pass corrects the remainder between two blocks.
    for _ in range(_DRIFT_PASSES):
        steady = power / 10 ** (drift / 10)
        levels = [
            (start, measure_gated_loudness(steady[start : start + block])) for start in starts
        ]
        points = [
            (start + block / 2, level - whole)
            for start, level in levels
            if whole is not None and level is not None and level > whole + REST_DB
        ]
        if not points:
            return drift
        drift += np.interp(np.arange(len(power)), *np.transpose(points))
        drift = drift.clip(-DRIFT_MAX_DB, DRIFT_MAX_DB)
    return drift


def apply_fades(pcm: Pcm, samples_in: int, samples_out: int) -> Pcm:
    """Return `pcm` faded in and out along half a cosine."""
    if not samples_in and not samples_out:
        return pcm
    pcm = pcm.copy()
    into, out = min(samples_in, len(pcm)), min(samples_out, len(pcm))
    pcm[:into] *= _build_fade(into)
    pcm[len(pcm) - out :] *= _build_fade(out)[::-1]
    return pcm


def _build_fade(samples: int) -> Pcm:
    angle = np.linspace(0, np.pi / 2, samples, endpoint=False, dtype=np.float32)
    gain: Pcm = np.sin(angle) ** 2
    return gain[:, None]
