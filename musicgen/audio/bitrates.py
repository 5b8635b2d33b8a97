"""Bitrates of lossy formats as libsndfile takes them."""

from __future__ import annotations

from musicgen.request import AudioFormat
from musicgen.request.limits import BITRATES, MPEG_1_MIN_RATE, MPEG_2_BITRATES

_OPUS_PER_CHANNEL = (6, 256)
# Measured on files of LAME 3.100. It leaves room for peaks that the codec adds.
_LAME_LEVELS = ((160, 0.95), (192, 0.97), (224, 0.98))
"""Factor by which LAME lowers the level, up to each constant bitrate in kbit/s; above them none."""


def compute_compression_level(audio_format: AudioFormat, bitrate: int, channels: int) -> float:
    """Return libsndfile's compression level for a bitrate in kbit/s.

    The level is linear: 1 at the codec's lowest bitrate, 0 at its highest.
    """
    if audio_format.output_format == "mp3":
        is_mpeg_1 = audio_format.rate >= MPEG_1_MIN_RATE
        lowest, highest = (BITRATES[0], BITRATES[-1]) if is_mpeg_1 else MPEG_2_BITRATES
    else:
        lowest, highest = (channels * limit for limit in _OPUS_PER_CHANNEL)
    # libsndfile rejects level 1 itself.
    return min(0.999, max(0.0, (highest - bitrate) / (highest - lowest)))


def compute_encoder_gain(audio_format: AudioFormat) -> float:
    """Return the factor for the samples before the encoder, so that the file keeps their level."""
    if audio_format.output_format != "mp3":
        return 1.0
    highest = BITRATES[-1] if audio_format.rate >= MPEG_1_MIN_RATE else MPEG_2_BITRATES[1]
    bitrate = min(highest, audio_format.bitrate or highest)
    return 1 / next((level for most, level in _LAME_LEVELS if bitrate <= most), 1.0)
