"""Bitrates of lossy formats as libsndfile takes them."""

from __future__ import annotations

from musicgen.request import AudioFormat
from musicgen.request.limits import BITRATES, MPEG_1_MIN_RATE, MPEG_2_BITRATES

_OPUS_PER_CHANNEL = (6, 256)


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
