"""Hold the true peak of lossy files: a decoder's waveform peaks higher than the encoded one."""

from __future__ import annotations

import io
import math

import soundfile as sf

from musicgen.audio.encode import encode
from musicgen.audio.normalize import normalize
from musicgen.audio.pcm import Pcm
from musicgen.audio.tags import AudioTags
from musicgen.audio.true_peak import measure_true_peak
from musicgen.request import AudioFormat
from musicgen.request.limits import TRUE_PEAK_DEFAULT_DBTP, TRUE_PEAK_MAX_DBTP

LOSSY_FORMATS = ("mp3", "ogg", "opus")
TOLERANCE_DB = 0.5
"""The decoded file may exceed the ceiling by this much, but not full scale."""
ROUNDS = 3
"""A file is encoded anew this often at most."""
# A second encoding of a lower level overshoots differently.
_RESERVE_DB = 0.1
# Live sound cannot be measured first. These are for the demo's drums, the worst of its clips:
# overshoot over the tolerance in dB, below a bitrate in kbit/s.
_LIVE_MP3_OVERSHOOT = ((64, 1.0), (112, 0.4))


class LossyFit:
    """File of a clip, encoded and decoded again for its true peak."""

    def __init__(self, pcm: Pcm, audio_format: AudioFormat, tags: AudioTags) -> None:
        self.data = encode(pcm, audio_format, tags)
        self.true_peak = measure_true_peak(_decode(self.data))

    def measure_excess_db(self, ceiling_dbtp: float) -> float:
        """Return the decibels by which the decoded file exceeds what is allowed, 0 or more."""
        if not self.true_peak:
            return 0.0
        allowed = min(ceiling_dbtp + TOLERANCE_DB, TRUE_PEAK_MAX_DBTP)
        excess = 20 * math.log10(self.true_peak) - allowed
        return excess + _RESERVE_DB if excess > 0 else 0.0


def encode_within(pcm: Pcm, audio_format: AudioFormat, tags: AudioTags) -> bytes:
    """Return the file of a sound at its level, limited where a lossy file decodes too high.

    The ceiling is the true peak of `pcm`. A sound beyond full scale was never limited and stays.
    """
    peak = measure_true_peak(pcm)
    if audio_format.output_format not in LOSSY_FORMATS or not 0 < peak < 1:
        return encode(pcm, audio_format, tags)
    ceiling = min(20 * math.log10(peak), TRUE_PEAK_MAX_DBTP)
    margin, limited = 0.0, pcm
    for _ in range(ROUNDS):
        fit = LossyFit(limited, audio_format, tags)
        excess = fit.measure_excess_db(max(ceiling, TRUE_PEAK_DEFAULT_DBTP))
        if not excess:
            break
        margin += excess
        level = min(ceiling, TRUE_PEAK_DEFAULT_DBTP) - margin
        limited = normalize(pcm, audio_format.rate, "clip", ceiling_dbtp=level).pcm
    else:
        fit = LossyFit(limited, audio_format, tags)
    return fit.data


def estimate_overshoot_db(audio_format: AudioFormat) -> float:
    """Return how far the ceiling of a live stream is lowered for its format, in decibels."""
    if audio_format.output_format == "mp3" and audio_format.bitrate is not None:
        for bitrate, overshoot in _LIVE_MP3_OVERSHOOT:
            if audio_format.bitrate < bitrate:
                return overshoot
    return 0.0


def _decode(data: bytes) -> Pcm:
    """Return the sound of a file that this process has encoded itself."""
    pcm: Pcm = sf.read(io.BytesIO(data), dtype="float32", always_2d=True)[0]
    return pcm
