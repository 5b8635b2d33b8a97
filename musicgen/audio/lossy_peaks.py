"""Hold the true peak of lossy files: a decoder's waveform peaks higher than the encoded one."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import soundfile as sf

from musicgen.audio.encode import encode
from musicgen.audio.normalize import Normalized, normalize
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
# Live sound cannot be measured first. On dense drums, which are worse than music: overshoot
# over the tolerance in dB, up to a bitrate in kbit/s of each channel.
_LIVE_MP3_OVERSHOOT = ((64, 1.2), (112, 0.5), (math.inf, 0.2))
_LIVE_OGG_OVERSHOOT = 0.1


class LossyFit:
    """File of a clip, encoded and decoded again for its true peak."""

    def __init__(self, pcm: Pcm, audio_format: AudioFormat, tags: AudioTags) -> None:
        self.data = encode(pcm, audio_format, tags)
        self.true_peak = measure_true_peak(_decode(self.data))

    def measure_excess_db(self, ceiling_dbtp: float) -> float:
        """Return the decibels by which the decoded file exceeds what is allowed, 0 or more."""
        if not self.true_peak:
            return 0.0
        allowed = min(ceiling_dbtp + TOLERANCE_DB, TRUE_PEAK_MAX_DBTP) - _METER_DB
        return max(0.0, 20 * math.log10(self.true_peak) - allowed)


def fit_lossy(
    set_level: Callable[[float], Normalized],
    audio_format: AudioFormat,
    tags: AudioTags,
    ceiling_dbtp: float,
) -> tuple[Normalized, LossyFit]:
    """Return a clip and its lossy file, which decodes within what `ceiling_dbtp` allows.

    `set_level` returns the clip limited that many decibels below its ceiling.
    """
    margin = 0.0
    clip = set_level(margin)
    fit = LossyFit(clip.pcm, audio_format, tags)
    for number in range(ROUNDS):
        excess = fit.measure_excess_db(ceiling_dbtp)
        if not excess:
            break
        margin += excess + _FIRST_RESERVE_DB * 2**number
        clip = set_level(margin)
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

    def lower(margin: float) -> Normalized:
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


def _decode(data: bytes) -> Pcm:
    """Return the sound of a file that this process has encoded itself."""
    pcm: Pcm = sf.read(io.BytesIO(data), dtype="float32", always_2d=True)[0]
    return pcm
