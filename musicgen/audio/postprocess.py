"""From what the model made to the clip that was asked for: rate, loop, silence, fades, level."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from musicgen.audio.loudness import (
    HOPS_A_SECOND,
    gated_loudness,
    hop_samples,
    power_of_hops,
)
from musicgen.audio.normalize import Normalized, normalize
from musicgen.audio.pcm import Pcm, require_finite
from musicgen.audio.resample import resample
from musicgen.request import GenerationRequest
from musicgen.request.limits import SEAM_SECONDS

CROSSFADE_SECONDS = 0.1
SILENCE_DB = -50.0
"""Below the loudest hundredth of a second."""
_BLOCK_SECONDS, _KEPT_SECONDS = 0.01, 0.01
_BLOCK_SAMPLES = 2**18
DRIFT_SECONDS = 30.0
"""What changes within this time is music, and what changes more slowly a drift of the model."""
DRIFT_MAX_DB = 12.0
REST_DB = -20.0
"""Below the whole clip's level: a passage that is meant to be quiet."""
_DRIFT_PASSES = 2


def finish_clip(pcm: Pcm, sample_rate: int, request: GenerationRequest) -> Normalized:
    """Return the finished clip (samples, channels) of PCM generated at `sample_rate`.

    It has the sample rate and level of `request` and is round(request.seconds * rate) samples
    long, unless silence was cut off. Clips of several sections keep the levels of their sections.
    """
    require_finite(pcm)
    rate = request.sample_rate or sample_rate
    pcm = resample(pcm, sample_rate, rate)
    length = round(request.seconds * rate)
    pcm = looped(pcm, rate, length) if request.loop else pcm[:length]
    if request.trim_silence:
        pcm = without_silence(pcm, rate)
    is_scaled = request.normalization_strategy not in ("none", "clip")
    if request.steady_level and is_scaled and request.sections is None:
        pcm = steadied(pcm, rate)
    pcm = faded(pcm, round(request.fade_in * rate), round(request.fade_out * rate))
    return normalize(pcm, rate, request.normalization_strategy, request.target_loudness)


def looped(pcm: Pcm, sample_rate: int, length: int) -> Pcm:
    """`length` samples that go on into their own beginning: what came behind their end is faded
    into it. The cut is made within ten milliseconds where the sound moves least.

    `pcm` has `SEAM_SECONDS` more than `length`.
    """
    crossfade = min(round(CROSSFADE_SECONDS * sample_rate), length // 2)
    room = max(0, len(pcm) - length - crossfade)
    most = min(room, round((SEAM_SECONDS - CROSSFADE_SECONDS) * sample_rate))
    around = pcm[length - 1 : length + most + 1]
    shift = int(np.abs(np.diff(around, axis=0)).max(axis=1).argmin())
    clip: Pcm = pcm[shift : shift + length].copy()
    behind = pcm[shift + length :][:crossfade]
    # Equal power: a beginning and what came behind an end have nothing to do with each other.
    angle = np.linspace(0, np.pi / 2, len(behind), endpoint=False, dtype=np.float32)[:, None]
    clip[: len(behind)] *= np.sin(angle)
    clip[: len(behind)] += behind * np.cos(angle)
    return clip


def without_silence(pcm: Pcm, sample_rate: int) -> Pcm:
    """`pcm` without the silence at both its ends; silence itself is left as it is."""
    block = round(_BLOCK_SECONDS * sample_rate)
    starts = np.arange(0, len(pcm), block)
    power = np.add.reduceat(np.square(pcm, dtype=np.float64).sum(axis=1), starts)
    if not power.any():
        return pcm
    loud = np.flatnonzero(power > power.max() * 10 ** (SILENCE_DB / 10))
    kept = round(_KEPT_SECONDS * sample_rate)
    start = max(0, int(starts[loud[0]]) - kept)
    return pcm[start : int(starts[loud[-1]]) + block + kept]


def steadied(pcm: Pcm, sample_rate: int) -> Pcm:
    """`pcm` without what its level drifts by over more than `DRIFT_SECONDS`; shorter clips as they
    are. Music that feeds on itself window after window tends to become louder and louder."""
    if len(pcm) <= DRIFT_SECONDS * sample_rate:
        return pcm
    decibels = drift_of(power_of_hops(pcm, sample_rate))
    hop = hop_samples(sample_rate)
    centres = (np.arange(len(decibels)) + 0.5) * hop
    result = np.empty_like(pcm)
    for start in range(0, len(pcm), _BLOCK_SAMPLES):
        part = pcm[start : start + _BLOCK_SAMPLES]
        gain = np.interp(np.arange(start, start + len(part)), centres, -decibels)
        result[start : start + len(part)] = part * (10 ** (gain / 20)).astype(np.float32)[:, None]
    return result


def drift_of(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how many decibels each hop is louder than the whole, seen over `DRIFT_SECONDS`. `power` is
    that of `power_of_hops`."""
    block = round(DRIFT_SECONDS * HOPS_A_SECOND)
    starts = [*range(0, len(power) - block, block // 2), len(power) - block]
    drift = np.zeros(len(power))
    whole = gated_loudness(power)
    # What one pass leaves between two blocks the next one sees.
    for _ in range(_DRIFT_PASSES):
        steady = power / 10 ** (drift / 10)
        levels = [(start, gated_loudness(steady[start : start + block])) for start in starts]
        heard = [
            (start + block / 2, level - whole)
            for start, level in levels
            if whole is not None and level is not None and level > whole + REST_DB
        ]
        if not heard:
            return drift
        drift += np.interp(np.arange(len(power)), *np.transpose(heard))
        drift = drift.clip(-DRIFT_MAX_DB, DRIFT_MAX_DB)
    return drift


def faded(pcm: Pcm, samples_in: int, samples_out: int) -> Pcm:
    """With both ends faded from and to silence along half a cosine."""
    if not samples_in and not samples_out:
        return pcm
    pcm = pcm.copy()
    into, out = min(samples_in, len(pcm)), min(samples_out, len(pcm))
    pcm[:into] *= _rising(into)
    pcm[len(pcm) - out :] *= _rising(out)[::-1]
    return pcm


def _rising(samples: int) -> Pcm:
    angle = np.linspace(0, np.pi / 2, samples, endpoint=False, dtype=np.float32)
    rising: Pcm = np.sin(angle) ** 2
    return rising[:, None]
