"""Bitrates of lossy formats as libsndfile takes them."""

from __future__ import annotations

from musicgen.request import AudioFormat
from musicgen.request.limits import BITRATES, MPEG_1_MIN_RATE, MPEG_2_BITRATES

_OPUS_PER_CHANNEL = (6, 256)
_LAME_LEVELS = ((160, 0.95), (192, 0.97), (224, 0.98))
"""Factor by which LAME 3.100 lowers the level, up to each constant bitrate in kbit/s (measured).

It makes room for the peaks that the codec adds. Above these bitrates there is none.
"""


def compute_compression_level(audio_format: AudioFormat, bitrate: int, channels: int) -> float:
    """Return libsndfile's compression level for a bitrate in kbit/s.

    The level is linear: 1 at the codec's lowest bitrate, 0 at its highest.
    """
    if audio_format.output_format == "mp3":
        lowest, highest = _find_mp3_range(audio_format)
    else:
        lowest, highest = (channels * limit for limit in _OPUS_PER_CHANNEL)
    # libsndfile rejects level 1 itself.
    return min(0.999, max(0.0, (highest - bitrate) / (highest - lowest)))


def compute_encoder_gain(audio_format: AudioFormat) -> float:
    """Return the factor for the samples before the encoder, so that the file keeps their level."""
    if audio_format.output_format != "mp3":
        return 1.0
    _, highest = _find_mp3_range(audio_format)
    bitrate = min(highest, audio_format.bitrate or highest)
    return 1 / next((level for most, level in _LAME_LEVELS if bitrate <= most), 1.0)


def _find_mp3_range(audio_format: AudioFormat) -> tuple[int, int]:
    """Return the lowest and the highest bitrate at a sample rate."""
    is_mpeg_1 = audio_format.rate >= MPEG_1_MIN_RATE
    return (BITRATES[0], BITRATES[-1]) if is_mpeg_1 else MPEG_2_BITRATES
