"""PCM to the bytes of a file, by libsndfile and without a child process or a temporary file."""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from musicgen.audio.pcm import Pcm, require_finite
from musicgen.audio.reproducible import with_serial, without_time
from musicgen.audio.resample import resample
from musicgen.audio.tags import AudioTags
from musicgen.errors import InvalidBitDepth, UnknownFormat
from musicgen.request import BIT_DEPTHS, OUTPUT_FORMATS

OPUS_RATE = 48_000
"""The rate of every Opus decoder, in Hz; the codec has no 32 kHz."""
# Given a long clip at once, libvorbis takes memory on the stack for all of it.
_BLOCK_SAMPLES = 2**15


@dataclass(frozen=True)
class _Container:
    content_type: str
    format: str
    codec: str | None = None
    quality: tuple[tuple[str, Any], ...] = ()


_CONTAINERS = {
    "wav": _Container("audio/wav", "WAV"),
    "flac": _Container("audio/flac", "FLAC"),
    # libsndfile's level counts from 0, its best: here the 320 kb/s that end MPEG-1 layer III,
    "mp3": _Container(
        "audio/mpeg",
        "MP3",
        "MPEG_LAYER_III",
        (("compression_level", 0.0), ("bitrate_mode", "CONSTANT")),
    ),
    # Vorbis quality 8, about 210 kb/s of stereo at 32 kHz,
    "ogg": _Container("audio/ogg", "OGG", "VORBIS", (("compression_level", 0.2),)),
    # and 96 kb/s for each channel of Opus.
    "opus": _Container("audio/ogg; codecs=opus", "OGG", "OPUS", (("compression_level", 0.64),)),
}


def encode(
    pcm: Pcm, sample_rate: int, output_format: str, bit_depth: str, tags: AudioTags
) -> bytes:
    """Encodes `pcm` (samples, 1 or 2 channels) and writes `tags` into the container.

    Channels keep their number and order. Integers are rounded to the nearest and limited, never
    wrapped. `bit_depth` "float" is 32-bit IEEE in wav and unlimited there; flac has no floating
    point and takes 24 bits; lossy formats ignore it and encode from float32 limited to full
    scale. The same arguments give the same bytes, in every format, on the same build.

    Decoding gives back exactly the samples that went in, aligned: mp3 too (by the encoder delay
    and padding in its LAME header, which mpg123, ffmpeg and browsers honour); opus, which is at
    48 kHz, gives round(samples * 48000 / sample_rate).

    Raises: `GenerationError` for NaN or infinity, `UnknownFormat`, `InvalidBitDepth`.
    """
    container = _container(output_format)
    if bit_depth not in BIT_DEPTHS:
        raise InvalidBitDepth("bit_depth", bit_depth, f"one of {', '.join(BIT_DEPTHS)}")
    require_finite(pcm)
    if output_format == "opus":
        pcm, sample_rate = resample(pcm, sample_rate, OPUS_RATE), OPUS_RATE
    codec, samples = _as_stored(pcm, output_format, bit_depth)

    file = io.BytesIO()
    with sf.SoundFile(
        file,
        "w",
        sample_rate,
        pcm.shape[1],
        container.codec or codec,
        format=container.format,
        **dict(container.quality),
    ) as sound:
        if output_format != "mp3":
            for name, text in tags.to_fields().items():
                setattr(sound, name, text)
        for start in range(0, len(samples), _BLOCK_SAMPLES):
            sound.write(samples[start : start + _BLOCK_SAMPLES])
    data = file.getvalue()
    if output_format == "mp3":
        return tags.to_id3() + data
    if output_format == "wav":
        return without_time(data)
    if container.format == "OGG":
        # From the content, so that two clips joined into one file are still two streams.
        return with_serial(data, zlib.crc32(pcm.tobytes()))
    return data


def content_type(output_format: str) -> str:
    """The MIME type of a format. Raises: `UnknownFormat`."""
    return _container(output_format).content_type


def file_extension(output_format: str) -> str:
    """The suffix of a format without its dot ("opus" is Ogg inside). Raises: `UnknownFormat`."""
    _container(output_format)
    return output_format


def _container(output_format: str) -> _Container:
    if output_format not in _CONTAINERS:
        raise UnknownFormat("output_format", output_format, OUTPUT_FORMATS)
    return _CONTAINERS[output_format]


def _as_stored(pcm: Pcm, output_format: str, bit_depth: str) -> tuple[str, NDArray[Any]]:
    """The codec of a lossless format, and the samples in the type that it stores.

    Rounded here because libsndfile, asked to limit, truncates instead, and scales by 2^15 - 1
    what every reader divides by 2^15.
    """
    if output_format not in ("wav", "flac"):
        return "", pcm.clip(-1, 1)
    if bit_depth == "16":
        return "PCM_16", np.rint(pcm * 2**15).clip(-(2**15), 2**15 - 1).astype(np.int16)
    if bit_depth == "float" and output_format == "wav":
        return "FLOAT", pcm
    # soundfile takes 24 bits as the upper ones of 32.
    return "PCM_24", np.rint(pcm * 2**23).clip(-(2**23), 2**23 - 1).astype(np.int32) << 8
