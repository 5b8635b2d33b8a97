"""Hold the true peak and the loudness of lossy files, which are those of the decoded waveform."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import cached_property

import numpy as np
import soundfile as sf

from musicgen.audio.encode import encode
from musicgen.audio.loudness import measure_loudness
from musicgen.audio.normalize import SILENT_PEAK, Normalized, is_aimed, normalize
from musicgen.audio.pcm import Pcm
from musicgen.audio.tags import AudioTags
from musicgen.audio.true_peak import measure_true_peak
from musicgen.request import AudioFormat
from musicgen.request.limits import TRUE_PEAK_DEFAULT_DBTP, TRUE_PEAK_MAX_DBTP

LOSSY_FORMATS = ("mp3", "ogg", "opus")
TOLERANCE_DB = 0.5
"""The decoded file may exceed the ceiling by this much, but not full scale."""
ROUNDS = 7
"""A file is encoded anew this often at most."""
# Meters interpolate differently.
_METER_DB = 0.05
# A second encoding of a lower level overshoots differently, so each round reserves twice as much.
_FIRST_RESERVE_DB = 0.1
# A codec that keeps no high frequencies takes loudness. A loss below the first value is left; one
# above the second is not made up for, since the codec cannot hold such a clip. Both in LU.
_LOSS_LEFT, _LOSS_MAX = 0.25, 3.0
# Later rounds settle the peak.
_LOSS_ROUNDS = 2
# Live sound cannot be measured first. On dense drums, which are worse than music: overshoot
# over the tolerance in dB, up to a bitrate in kbit/s of each channel.
_LIVE_MP3_OVERSHOOT = ((64, 2.0), (112, 0.9), (math.inf, 0.7))
_LIVE_OGG_OVERSHOOT = 0.1


class LossyFit:
    """File of a clip, encoded and decoded again for its loudness and peaks (linear)."""

    def __init__(self, pcm: Pcm, audio_format: AudioFormat, tags: AudioTags) -> None:
        self.data = encode(pcm, audio_format, tags)
        self._decoded, self._rate = _decode(self.data)
        peak = float(np.abs(self._decoded).max(initial=0.0))
        # The decoder of a silent file may round to something else than 0.
        is_silent = peak < SILENT_PEAK
        self.peak = 0.0 if is_silent else peak
        self.true_peak = 0.0 if is_silent else measure_true_peak(self._decoded)

    @cached_property
    def loudness_lufs(self) -> float | None:
        """Loudness of the decoded file in LUFS. Stems and conversions do not need it."""
        return measure_loudness(self._decoded, self._rate)

    def measure_excess_db(self, ceiling_dbtp: float) -> float:
        """Return the decibels by which the decoded file exceeds what is allowed, 0 or more."""
        if not self.true_peak:
            return 0.0
        allowed = min(ceiling_dbtp + TOLERANCE_DB, TRUE_PEAK_MAX_DBTP) - _METER_DB
        return max(0.0, 20 * math.log10(self.true_peak) - allowed)

    def measure_loss_lu(self, loudness_lufs: float | None) -> float:
        """Return by how much the decoded file is quieter than the clip, 0 to 3 LU."""
        if loudness_lufs is None:
            return 0.0
        if self.loudness_lufs is None:
            return _LOSS_MAX
        return max(0.0, min(_LOSS_MAX, loudness_lufs - self.loudness_lufs))


def fit_lossy(
    set_level: Callable[[float, float], Normalized],
    audio_format: AudioFormat,
    tags: AudioTags,
    ceiling_dbtp: float,
    keeps_loudness: bool = False,
) -> tuple[Normalized, LossyFit]:
    """Return a clip and its lossy file, which decodes within what `ceiling_dbtp` allows.

    `set_level` returns the clip limited the first number of decibels below its ceiling, and aimed
    the second number of LU above its loudness: with `keeps_loudness`, what the codec takes.
    """
    margin = boost = 0.0
    clip = set_level(margin, boost)
    fit = LossyFit(clip.pcm, audio_format, tags)
    for number in range(ROUNDS):
        excess = fit.measure_excess_db(ceiling_dbtp)
        is_off = False
        if keeps_loudness and is_aimed(clip) and number < _LOSS_ROUNDS:
            loss = fit.measure_loss_lu(clip.loudness_lufs)
            is_off = abs(loss - boost) > _LOSS_LEFT
        if not excess and not is_off:
            break
        if excess:
            margin += excess + _FIRST_RESERVE_DB * 2**number
        if is_off:
            boost = loss
        clip = set_level(margin, boost)
        fit = LossyFit(clip.pcm, audio_format, tags)
    return clip, fit


def encode_within(pcm: Pcm, audio_format: AudioFormat, tags: AudioTags) -> bytes:
    """Return the file of a sound at its level, limited where a lossy file decodes too high.

    The ceiling is the true peak of `pcm`. A sound beyond full scale was never limited and stays.
    """
    peak = measure_true_peak(pcm)
    if audio_format.output_format not in LOSSY_FORMATS or not 0 < peak < 1:
        return encode(pcm, audio_format, tags)
    level = min(20 * math.log10(peak), TRUE_PEAK_DEFAULT_DBTP)
    # Nobody asks for its loudness.
    whole = Normalized(pcm, None, peak, peak)

    def lower(margin: float, _: float) -> Normalized:
        if not margin:
            return whole
        return normalize(pcm, audio_format.rate, "clip", ceiling_dbtp=level - margin)

    ceiling = max(20 * math.log10(peak), TRUE_PEAK_DEFAULT_DBTP)
    return fit_lossy(lower, audio_format, tags, ceiling)[1].data


def estimate_overshoot_db(audio_format: AudioFormat, channels: int) -> float:
    """Return how far the ceiling of a live stream is lowered for its format, in decibels."""
    if audio_format.output_format == "ogg":
        return _LIVE_OGG_OVERSHOOT
    if audio_format.output_format != "mp3":
        return 0.0
    of_channel = math.inf if audio_format.bitrate is None else audio_format.bitrate / channels
    return next(overshoot for most, overshoot in _LIVE_MP3_OVERSHOOT if of_channel <= most)


def _decode(data: bytes) -> tuple[Pcm, int]:
    """Return the sound of a file that this process has encoded itself, and its rate in Hz."""
    decoded: tuple[Pcm, int] = sf.read(io.BytesIO(data), dtype="float32", always_2d=True)
    return decoded
