"""`musicgen stems`: the parts of a recording, each in a file of its own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from handlers.cli.options import Commands
from handlers.cli.paths import check_folder
from musicgen.errors import NotWritable
from musicgen.settings import Settings

STEMS_MAX_SECONDS = 600.0
"""Limit for the memory: Demucs holds all stems of the recording at once."""
FORMATS = ("wav", "flac")


def add(commands: Commands) -> None:
    """Add the command `stems`."""
    parser = commands.add_parser(
        "stems",
        help="write drums, bass, vocals and the rest of a clip as files",
        description="Separates a clip or any other recording with Demucs (extra demucs, whose "
        "weights are downloaded at first use, or MUSICGEN_SEPARATION=FOLDER/NAME or FILE.onnx). "
        "They keep the tempo and the loop points of the clip.",
    )
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help=f"the sound, at most {STEMS_MAX_SECONDS:g} s")
    add("-o", "--output", type=Path, metavar="FOLDER", help="(default: the folder of FILE)")
    add(
        "--format",
        choices=FORMATS,
        default="wav",
        help="wav has 32-bit floats, flac 24 bits (default: %(default)s)",
    )
    parser.set_defaults(run=_write_stems, names={"input_audio": "FILE"})


def _write_stems(options: argparse.Namespace, settings: Settings) -> int:
    from musicgen.audio.decode import read_audio
    from musicgen.audio.lossy_fit import encode_within
    from musicgen.audio.normalize import normalize
    from musicgen.audio.tags import AudioTags, read_tags
    from musicgen.engine.loading import resolve_device
    from musicgen.predictor.parts import build_stem_tags
    from musicgen.predictor.separation import AUTO, OFF, MelodySeparator
    from musicgen.request import AudioFormat
    from musicgen.storage.local import write_atomically

    path: Path = options.file
    folder: Path = options.output or path.parent
    check_folder("-o", folder)
    pcm, rate = read_audio(path, max_seconds=STEMS_MAX_SECONDS, max_channels=2, is_foreign=True)
    tags = read_tags(path) or AudioTags(path.stem, 0, "", "", "")
    # `off` is about requests for a melody; this command is nothing but a separation.
    name = AUTO if settings.separation == OFF else settings.separation
    is_loop = tags.tempo is not None and tags.tempo.is_loop
    separator = MelodySeparator(name, resolve_device(settings.device))
    stems = separator.separate(pcm, rate, is_loop=is_loop)
    audio_format = AudioFormat(options.format, "float", sample_rate=rate)
    for stem, sound in stems.items():
        target = folder / f"{path.stem}-{stem}.{options.format}"
        own = build_stem_tags(tags, stem)
        if options.format != "wav":
            # A stem may peak higher than its mix. Only a wav of floats has room beyond full scale.
            sound = normalize(sound, rate, "clip").pcm
        try:
            write_atomically(target, [encode_within(sound, audio_format, own)])
        except OSError as error:
            raise NotWritable(f"cannot write {target}: {error.strerror}") from error
        sys.stdout.write(f"{target}\n")
    return 0
