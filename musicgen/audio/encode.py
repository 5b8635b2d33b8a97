"""Encode PCM as a file with libsndfile, without a child process or a temporary file."""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from musicgen.audio.bitrates import compute_compression_level, compute_encoder_gain
from musicgen.audio.deterministic import clear_peak_time, set_ogg_serial
from musicgen.audio.dither import Dither
from musicgen.audio.extrapolate import extrapolate
from musicgen.audio.memory_file import HEADER_BYTES, MemoryFile
from musicgen.audio.mp3_info import add_info
from musicgen.audio.ogg_ends import cut_opus, separate_first_packet
from musicgen.audio.pcm import Pcm, require_finite
from musicgen.audio.resample import resample
from musicgen.audio.sample_types import convert_samples
from musicgen.audio.tags import AudioTags, build_tokens_chunk
from musicgen.audio.vorbis_fields import reserve_comments, write_comments
from musicgen.errors import InvalidBitDepth, UnknownFormat
from musicgen.request import AudioFormat
from musicgen.request.limits import BIT_DEPTHS, OUTPUT_FORMATS

FORMATS_WITH_COMMENTS = ("flac", "ogg", "opus")
OPUS_RATE = 48_000
"""Sample rate of every Opus decoder, in Hz; no model has it."""
# The encoder's delay of 6.5 ms, a packet of 20 ms and the filter of the resampler.
_OPUS_MARGIN_SECONDS = 0.04
# libvorbis allocates a whole write on the stack, so long clips are written in blocks.
_BLOCK_SAMPLES = 2**15


@dataclass(frozen=True)
class _Container:
    """libsndfile's settings for one output format; `codec` None depends on the bit depth."""

    content_type: str
    format: str
    codec: str | None = None
    quality: tuple[tuple[str, Any], ...] = ()


_CONTAINERS = {
    "wav": _Container("audio/wav", "WAV"),
    "flac": _Container("audio/flac", "FLAC"),
    # libsndfile's level 0 is its best: 320 kbit/s, and 160 below 32 kHz.
    "mp3": _Container(
        "audio/mpeg",
        "MP3",
        "MPEG_LAYER_III",
        (("compression_level", 0.0), ("bitrate_mode", "CONSTANT")),
    ),
    # Vorbis quality 8: about 210 kbit/s for stereo at 32 kHz.
    "ogg": _Container("audio/ogg", "OGG", "VORBIS", (("compression_level", 0.2),)),
    # 96 kbit/s per channel.
    "opus": _Container("audio/ogg; codecs=opus", "OGG", "OPUS", (("compression_level", 0.64),)),
}

_HIGHEST_BITS_PER_SECOND = {"mp3": 320_000, "ogg": 500_000, "opus": 510_000}


def encode(pcm: Pcm, audio_format: AudioFormat, tags: AudioTags) -> bytes:
    """Encode `pcm` (samples, 1 or 2 channels) at the rate of `audio_format`, with `tags`.

    Channels keep their number and order. Integers are rounded to the nearest and limited, never
    wrapped. Bit depth "float" is unlimited 32-bit IEEE in wav and 24 bits in flac, a format without
    floating point; lossy formats ignore the bit depth and encode float32 limited to full scale.
    The bitrate applies to mp3 and opus, in kbit/s of all channels; None is 320 for mp3,
    160 below 32 kHz, and 96 per channel for opus. Equal arguments give equal bytes on one build.

    Decoding returns the same number of samples, aligned, at the same level. An mp3 achieves this by
    the encoder delay and padding in its gapless header, read by mpg123, ffmpeg and browsers. An
    opus file is at 48 kHz: see `describe_file`. `tags.tempo` names tempo and loop.

    Raises: `GenerationError` for NaN or infinity, `UnknownFormat`, `InvalidBitDepth`.
    """
    return b"".join(encode_blocks(pcm, audio_format, tags))


def encode_blocks(pcm: Pcm, audio_format: AudioFormat, tags: AudioTags) -> Iterator[bytes]:
    """Return the bytes of `encode` in blocks, so storing can begin before the end.

    A wav comes in many blocks. Other formats come in one: closing them rewrites their beginning,
    or their serial number is derived from their content.

    Raises: the errors of `encode`, at the call.
    """
    check_format(audio_format)
    require_finite(pcm)
    samples = len(pcm)
    if audio_format.output_format == "opus":
        rate = audio_format.rate
        samples, file_rate = describe_file(samples, audio_format)
        following = extrapolate(pcm, math.ceil(_OPUS_MARGIN_SECONDS * rate))
        pcm = resample(np.concatenate([pcm, following]), rate, file_rate)
        audio_format = replace(audio_format, sample_rate=file_rate)
    file = _File(pcm, audio_format, tags, samples)
    if audio_format.output_format == "wav":
        return _iterate_wav(file)
    return iter([_encode_whole(file)])


def describe_file(samples: int, audio_format: AudioFormat) -> tuple[int, int]:
    """Return the samples of the file of a clip of `samples`, and its rate in Hz."""
    if audio_format.output_format != "opus":
        return samples, audio_format.rate
    return round(samples * OPUS_RATE / audio_format.rate), OPUS_RATE


def _iterate_wav(file: _File) -> Iterator[bytes]:
    """Yield the blocks of a wav.

    The file is written twice, because its header comes first and is complete only at the end.
    """
    memory = MemoryFile()
    for _ in file.write(memory):
        memory.take()
    header = clear_peak_time(bytes(memory.header))
    trailer = file.build_trailer()
    (size,) = struct.unpack_from("<I", header, 4)
    header = header[:4] + struct.pack("<I", size + len(trailer)) + header[8:]
    memory, start = MemoryFile(), 0
    for _ in file.write(memory):
        block = memory.take()
        yield header[start : start + len(block)] + block[max(0, len(header) - start) :]
        start += len(block)
    yield trailer


def _encode_whole(file: _File) -> bytes:
    target = io.BytesIO()
    for _ in file.write(target):
        pass
    data = write_comments(target.getvalue(), file.build_comments())
    if file.audio_format.output_format == "opus":
        data = cut_opus(data, file.samples)
    if file.audio_format.output_format == "ogg":
        data = separate_first_packet(data)
    if file.audio_format.output_format == "mp3":
        return file.tags.to_id3() + add_info(data, file.samples, file.audio_format.bitrate or 0)
    if _find_container(file.audio_format.output_format).format == "OGG":
        # Derived from the content, so two clips concatenated into one file stay two streams.
        return set_ogg_serial(data, zlib.crc32(file.pcm.tobytes()))
    return data


@dataclass(frozen=True)
class _File:
    """One clip with its format and tags.

    `samples`: those of the clip. `pcm` may have more, for the codec to hear beyond the end.
    """

    pcm: Pcm
    audio_format: AudioFormat
    tags: AudioTags
    samples: int

    def write(self, target: Any) -> Iterator[None]:
        """Write the clip to a file-like object; yield after each block and once more at the end."""
        samples = prepare_samples(self.pcm, self.audio_format, Dither())
        channels = self.pcm.shape[1]
        comments = self.build_comments()
        with open_writer(target, self.audio_format, channels, self.tags, comments) as sound:
            for start in range(0, len(samples), _BLOCK_SAMPLES):
                sound.write(samples[start : start + _BLOCK_SAMPLES])
                yield
        yield

    def build_comments(self) -> dict[str, str]:
        """Return mark, tempo and loop as comments, none for formats without comments."""
        return self.tags.build_comments(self.samples) if self._has_comments else {}

    def build_trailer(self) -> bytes:
        """Return the chunks after the samples of a wav."""
        chunks = self.tags.build_chunks(self.samples, self.audio_format.rate)
        return chunks + build_tokens_chunk(self.tags.tokens)

    @property
    def _has_comments(self) -> bool:
        return self.audio_format.output_format in FORMATS_WITH_COMMENTS


def open_writer(
    target: Any,
    audio_format: AudioFormat,
    channels: int,
    tags: AudioTags,
    comments: Mapping[str, str],
) -> sf.SoundFile:
    """Open libsndfile's writer on the file-like `target` and write the tags.

    `comments`: those to be written later by `write_comments`. The tags of an mp3 are left to the
    caller: they precede the file, see `AudioTags.to_id3`.
    """
    output_format = audio_format.output_format
    container = _find_container(output_format)
    quality = dict(container.quality)
    if audio_format.bitrate is not None:
        quality["compression_level"] = compute_compression_level(
            audio_format, audio_format.bitrate, channels
        )
    sound = sf.SoundFile(
        target,
        "w",
        audio_format.rate,
        channels,
        choose_codec(audio_format),
        format=container.format,
        **quality,
    )
    if output_format == "wav":
        tags = replace(tags, tokens=None)
    reserve_comments(sound, comments)
    if output_format != "mp3":
        for name, text in tags.to_fields().items():
            setattr(sound, name, text)
    return sound


def check_format(audio_format: AudioFormat) -> None:
    """Refuse an unknown container or bit depth.

    Raises: `UnknownFormat`, `InvalidBitDepth`.
    """
    _find_container(audio_format.output_format)
    depth = audio_format.bit_depth
    if depth not in BIT_DEPTHS:
        raise InvalidBitDepth.for_choice("bit_depth", depth, BIT_DEPTHS)


def compute_max_size(samples: int, channels: int, audio_format: AudioFormat) -> int:
    """Return an upper bound of the bytes of a clip, tags included.

    For wav the bound is exact except for the tags. A lossy format without a bitrate counts with
    the codec's highest rate. Opus keeps its bitrate on average only, so it counts twice.
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
    """Return the MIME type of a format. Raises: `UnknownFormat`."""
    return _find_container(output_format).content_type


def file_extension(output_format: str) -> str:
    """Return the file suffix of a format, without the dot. Raises: `UnknownFormat`."""
    _find_container(output_format)
    return output_format


def _find_container(output_format: str) -> _Container:
    if output_format not in _CONTAINERS:
        raise UnknownFormat.for_choice("output_format", output_format, OUTPUT_FORMATS)
    return _CONTAINERS[output_format]


def choose_codec(audio_format: AudioFormat) -> str:
    """Return libsndfile's name of the codec inside the container."""
    codec = _find_container(audio_format.output_format).codec
    if codec is not None:
        return codec
    if audio_format.bit_depth == "16":
        return "PCM_16"
    is_float = audio_format.bit_depth == "float" and audio_format.output_format == "wav"
    return "FLOAT" if is_float else "PCM_24"


def prepare_samples(pcm: Pcm, audio_format: AudioFormat, dither: Dither) -> NDArray[Any]:
    """Convert `pcm` to what the encoder of `audio_format` takes, which may lower its level."""
    samples = convert_samples(pcm, choose_codec(audio_format), dither)
    gain = compute_encoder_gain(audio_format)
    if gain != 1:
        samples *= np.float32(gain)
    return samples
