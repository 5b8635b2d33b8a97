"""`musicgen stems`: the parts of a recording, each in a file of its own."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from handlers.cli.options import Commands
from musicgen.errors import NotWritable
from musicgen.settings import Settings

STEMS_MAX_SECONDS = 600.0
"""Limit for the memory: Demucs holds all stems of the recording at once."""
_WRAPPED_SECONDS = 2.0
"""Music heard before and after a loop, as it is when it repeats."""
FORMATS = ("wav", "flac")


def add(commands: Commands) -> None:
    """Add the command `stems`."""
    parser = commands.add_parser(
        "stems",
        help="write drums, bass, vocals and the rest of a clip as files",
        description="Separates a clip or any other recording with Demucs (extra demucs, whose "
        "weights are downloaded at first use, or MUSICGEN_SEPARATION=FOLDER/NAME). They keep "
        "the tempo and the loop points of the clip.",
    )
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="the sound")
    add("-o", "--output", type=Path, metavar="FOLDER", help="by default that of the sound")
    add("--format", choices=FORMATS, default="wav", help="wav has 32-bit floats, flac 24 bits")
    parser.set_defaults(run=_write_stems)


def _write_stems(options: argparse.Namespace, settings: Settings) -> int:
    from musicgen.audio.decode import read_audio
    from musicgen.audio.encode import encode
    from musicgen.audio.tags import AudioTags, read_tags
    from musicgen.engine.loading import resolve_device
    from musicgen.predictor.separation import AUTO, DEFAULT_MODEL, OFF, MelodySeparator
    from musicgen.request import AudioFormat

    path: Path = options.file
    folder: Path = options.output or path.parent
    pcm, rate = read_audio(path, max_seconds=STEMS_MAX_SECONDS, max_channels=2, is_foreign=True)
    tags = read_tags(path) or AudioTags(path.stem, 0, "", "", "")
    name = DEFAULT_MODEL if settings.separation in (AUTO, OFF) else settings.separation
    wrapped = 0
    if tags.tempo is not None and tags.tempo.is_loop:
        wrapped = round(_WRAPPED_SECONDS * rate)
    around = np.pad(pcm, ((wrapped, wrapped), (0, 0)), mode="wrap" if wrapped else "constant")
    stems = MelodySeparator(name, resolve_device(settings.device)).separate(around, rate)
    audio_format = AudioFormat(options.format, "float", sample_rate=rate)
    for stem, sound in stems.items():
        sound = sound[wrapped : wrapped + len(pcm)]
        target = folder / f"{path.stem}-{stem}.{options.format}"
        own = replace(tags, prompt=f"{tags.prompt} ({stem})", tokens=None)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            target.write_bytes(encode(sound, audio_format, own))
        except OSError as error:
            raise NotWritable(f"cannot write {target}: {error.strerror}") from error
        sys.stdout.write(f"{target}\n")
    return 0
