"""Damaged sound files, made from a seed: none of them is kept anywhere."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

from musicgen.audio.encode import encode
from musicgen.audio.tags import AudioTags
from musicgen.request import AudioFormat
from musicgen.request.limits import OUTPUT_FORMATS
from tests.support import audio_files, ffmpeg_files

_RATE = 16_000
_TAGS = AudioTags("bells", 7, "demo", "Apache-2.0", "test")
_NUMBERS = (0, 1, 2**7 - 1, 2**15, 2**31 - 1, 2**31, 2**32 - 1)


def make_originals() -> dict[str, bytes]:
    """Small files of every container that is read, whole, joined and without a length."""
    pcm = audio_files.make_sines(4_000, 2, _RATE)
    found = {f"sf-{kind}": audio_files.encode_file(kind, pcm, _RATE) for kind in audio_files.KINDS}
    found |= {
        f"av-{kind}": ffmpeg_files.write_with_ffmpeg(kind, pcm, _RATE)
        for kind in ffmpeg_files.KINDS
    }
    flags = "frag_keyframe+empty_moov+default_base_moof"
    found["av-fragments"] = ffmpeg_files.write_with_ffmpeg("mp4", pcm, _RATE, movflags=flags)
    found["mp3-bare"] = ffmpeg_files.write_mp3(pcm, _RATE)
    for form in OUTPUT_FORMATS:
        own = encode(pcm, AudioFormat(form, sample_rate=_RATE), _TAGS)
        found[f"own-{form}"], found[f"joined-{form}"] = own, own + own
    return found


def mutate_files(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield `count` damaged files with their names; equal seeds give equal files."""
    originals = make_originals()
    names = sorted(originals)
    draw = random.Random(seed)
    for index in range(count):
        name = names[index % len(names)]
        data = bytearray(originals[name])
        for _ in range(draw.choice((1, 1, 2, 4))):
            _mutate(data, originals[draw.choice(names)], draw)
        yield f"{index}-{name}", bytes(data)


def _mutate(data: bytearray, other: bytes, draw: random.Random) -> None:
    """Change some bytes: half of the changes are in the first 300, where headers are."""
    size = len(data)
    at = draw.randrange(min(size, draw.choice((300, size)))) if size else 0
    length = draw.choice((1, 4, 64, 1_000))
    kind = draw.randrange(8)
    if kind < 3:
        for _ in range(draw.choice((1, 2, 8, 32))):
            data[min(size - 1, at + draw.randrange(64))] = draw.randrange(256)
    elif kind == 3:
        order = draw.choice("<>")
        data[at : at + 4] = struct.pack(f"{order}I", draw.choice(_NUMBERS))
    elif kind == 4:
        del data[at : at + length]
    elif kind == 5:
        data[at:at] = data[at : at + length] * draw.choice((1, 3, 20))
    elif kind == 6:
        del data[max(1, at) :]
    else:
        begin = draw.randrange(len(other))
        data[at:at] = other[begin : begin + length]
