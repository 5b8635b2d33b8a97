"""PCM to the bytes of a file, by libsndfile and without a child process or a temporary file."""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from musicgen.audio.deterministic import with_serial, without_time
from musicgen.audio.memory_file import HEADER_BYTES, Drain
from musicgen.audio.pcm import Pcm, require_finite
from musicgen.audio.resample import resample
from musicgen.audio.tags import AudioTags, with_tokens_chunk
from musicgen.errors import InvalidBitDepth, UnknownFormat
from musicgen.request import AudioFormat
from musicgen.request.limits import BIT_DEPTHS, OUTPUT_FORMATS

OPUS_RATE = 48_000
"""The rate of every Opus decoder, in Hz; the codec has no 32 kHz."""
# Given a long clip at once, libvorbis takes memory on the stack for all of it.
_BLOCK_SAMPLES = 2**15


@dataclass(frozen=True)
class _Container:
    """`codec` None depends on the bit depth."""

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

_HIGHEST_BITS_PER_SECOND = {"mp3": 320_000, "ogg": 500_000, "opus": 510_000}


def encode(pcm: Pcm, audio_format: AudioFormat, tags: AudioTags) -> bytes:
    """Encodes `pcm` (samples, 1 or 2 channels) and writes `tags` into the container.

    Channels keep their number and order. Integers are rounded to the nearest and limited, never
    wrapped. `bit_depth` "float" is 32-bit IEEE in wav and unlimited there; flac has no floating
    point and takes 24 bits; lossy formats ignore it and encode from float32 limited to full
    scale. `bitrate` is for mp3 and opus, in kbit/s of all channels; None is 320, or 96 for each
    channel of opus. The same arguments give the same bytes, in every format, on the same build.

    Decoding gives back exactly the samples that went in, aligned: mp3 too (by the encoder delay
    and padding in its LAME header, which mpg123, ffmpeg and browsers honour); opus, which is at
    48 kHz, gives round(samples * 48000 / sample_rate).

    Raises: `GenerationError` for NaN or infinity, `UnknownFormat`, `InvalidBitDepth`.
    """
    return b"".join(encode_blocks(pcm, audio_format, tags))


def encode_blocks(pcm: Pcm, audio_format: AudioFormat, tags: AudioTags) -> Iterator[bytes]:
    """What `encode` returns, in order and in pieces, so that storing can begin before the end.

    A wav comes in many; the other containers go back to their beginning when they are closed, or
    are numbered by their content, and come as one. Raises: what `encode` raises, at once.
    """
    check_format(audio_format)
    require_finite(pcm)
    if audio_format.output_format == "opus":
        pcm = resample(pcm, audio_format.rate, OPUS_RATE)
        audio_format = replace(audio_format, sample_rate=OPUS_RATE)
    file = _File(pcm, audio_format, tags)
    return _wav_blocks(file) if audio_format.output_format == "wav" else iter([_whole(file)])


def _wav_blocks(file: _File) -> Iterator[bytes]:
    """Written twice, because the header that comes first is known last."""
    drain = Drain()
    for _ in file.write(drain):
        drain.take()
    header = without_time(bytes(drain.header))
    behind = with_tokens_chunk(file.tags.tokens)
    (size,) = struct.unpack_from("<I", header, 4)
    header = header[:4] + struct.pack("<I", size + len(behind)) + header[8:]
    drain, start = Drain(), 0
    for _ in file.write(drain):
        block = drain.take()
        yield header[start : start + len(block)] + block[max(0, len(header) - start) :]
        start += len(block)
    yield behind


def _whole(file: _File) -> bytes:
    target = io.BytesIO()
    for _ in file.write(target):
        pass
    data = target.getvalue()
    if file.audio_format.output_format == "mp3":
        return file.tags.to_id3() + data
    if _container(file.audio_format.output_format).format == "OGG":
        # From the content, so that two clips joined into one file are still two streams.
        return with_serial(data, zlib.crc32(file.pcm.tobytes()))
    return data


@dataclass(frozen=True)
class _File:
    """One clip and how it is to be written."""

    pcm: Pcm
    audio_format: AudioFormat
    tags: AudioTags

    def write(self, target: Any) -> Iterator[None]:
        """Writes it to the file-like `target`; yields after each block and once more at the end."""
        samples = stored_samples(self.pcm, stored_codec(self.audio_format))
        channels = self.pcm.shape[1]
        with open_writer(target, self.audio_format, channels, self.tags) as sound:
            for start in range(0, len(samples), _BLOCK_SAMPLES):
                sound.write(samples[start : start + _BLOCK_SAMPLES])
                yield
        yield


def open_writer(
    target: Any, audio_format: AudioFormat, channels: int, tags: AudioTags
) -> sf.SoundFile:
    """Open libsndfile's writer on the file-like `target` and write the tags.

    The tags of an mp3 are not written: they stand before the file, see `AudioTags.to_id3`.
    """
    output_format = audio_format.output_format
    container = _container(output_format)
    quality = dict(container.quality)
    if audio_format.bitrate is not None:
        quality["compression_level"] = _level(output_format, audio_format.bitrate, channels)
    sound = sf.SoundFile(
        target,
        "w",
        audio_format.rate,
        channels,
        stored_codec(audio_format),
        format=container.format,
        **quality,
    )
    if output_format == "wav":
        tags = replace(tags, tokens=None)
    if output_format != "mp3":
        for name, text in tags.to_fields().items():
            setattr(sound, name, text)
    return sound


def _level(output_format: str, bitrate: int, channels: int) -> float:
    """libsndfile's compression level of a bitrate in kbit/s: linear, from 1 at the lowest that a
    codec has to 0 at its highest."""
    lowest, highest = (32, 320) if output_format == "mp3" else (6 * channels, 256 * channels)
    # Its own end it does not take.
    return min(0.999, max(0.0, (highest - bitrate) / (highest - lowest)))


def check_format(audio_format: AudioFormat) -> None:
    """Refuse an unknown container or bit depth.

    Raises: `UnknownFormat`, `InvalidBitDepth`.
    """
    _container(audio_format.output_format)
    depth = audio_format.bit_depth
    if depth not in BIT_DEPTHS:
        raise InvalidBitDepth("bit_depth", depth, f"one of {', '.join(BIT_DEPTHS)}")


def largest_size(samples: int, channels: int, audio_format: AudioFormat) -> int:
    """The most bytes that a clip of `samples` can have in a format, its tags included.

    Exact for wav but for the tags; of a lossy format without a `bitrate` it is the codec's highest
    rate. Opus keeps to its bitrate on the whole, not in each moment.
    """
    output_format, bitrate = audio_format.output_format, audio_format.bitrate
    if output_format in _HIGHEST_BITS_PER_SECOND:
        rate = _HIGHEST_BITS_PER_SECOND[output_format]
        if bitrate is not None:
            rate = min(rate, 1000 * bitrate * (2 if output_format == "opus" else 1))
        bits = rate * samples / audio_format.rate
        return HEADER_BYTES + math.ceil(bits / 8)
    widths = {"16": 2, "24": 3, "float": 4 if output_format == "wav" else 3}
    return HEADER_BYTES + samples * channels * widths[audio_format.bit_depth]


def content_type(output_format: str) -> str:
    """The MIME type of a format. Raises: `UnknownFormat`."""
    return _container(output_format).content_type


def file_extension(output_format: str) -> str:
    """The suffix of a format without its dot ("opus" is Ogg inside). Raises: `UnknownFormat`."""
    _container(output_format)
    return output_format


def _container(output_format: str) -> _Container:
    if output_format not in _CONTAINERS:
        raise UnknownFormat.for_choice("output_format", output_format, OUTPUT_FORMATS)
    return _CONTAINERS[output_format]


def stored_codec(audio_format: AudioFormat) -> str:
    """libsndfile's name of the codec inside a container."""
    codec = _container(audio_format.output_format).codec
    if codec is not None:
        return codec
    if audio_format.bit_depth == "16":
        return "PCM_16"
    is_float = audio_format.bit_depth == "float" and audio_format.output_format == "wav"
    return "FLOAT" if is_float else "PCM_24"


def stored_samples(pcm: Pcm, codec: str) -> NDArray[Any]:
    """`pcm` in the type that soundfile writes as `codec`, lossy ones limited to full scale.

    Rounded here because libsndfile, asked to limit, truncates instead, and scales by 2^15 - 1
    what every reader divides by 2^15.
    """
    if codec == "FLOAT":
        return pcm
    if codec == "PCM_16":
        return np.rint(pcm * 2**15).clip(-(2**15), 2**15 - 1).astype(np.int16)
    if codec == "PCM_24":
        # soundfile takes 24 bits as the upper ones of 32.
        return np.rint(pcm * 2**23).clip(-(2**23), 2**23 - 1).astype(np.int32) << 8
    return pcm.clip(-1, 1)
