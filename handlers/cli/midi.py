"""`musicgen midi`: the notes of a recording, as a MIDI file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from handlers.cli.options import Commands
from handlers.cli.paths import check_output
from musicgen.errors import NotWritable
from musicgen.midi.packages import EXTENSION, check_installed
from musicgen.settings import Settings


def add(commands: Commands) -> None:
    """Add the command `midi`."""
    parser = commands.add_parser(
        "midi",
        help="write the notes of a clip as a MIDI file",
        description="Transcribes a clip or any other recording with the model of basic-pitch "
        "(extra midi). Drums have no notes, and all instruments share one track. The tempo is "
        "that of the clip's tags, else 120.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the sound")
    parser.add_argument(
        *("-o", "--output"),
        type=Path,
        metavar="FILE.mid",
        help="file to write (default: FILE with the ending .mid, in the same folder)",
    )
    parser.set_defaults(run=_write_midi, names={"input_audio": "FILE"})


def _write_midi(options: argparse.Namespace, settings: Settings) -> int:
    check_installed()
    from musicgen.audio.decode import read_audio
    from musicgen.audio.tags import AudioTags, read_tags
    from musicgen.midi.midi_file import transcribe_to_midi
    from musicgen.storage.local import write_atomically

    path: Path = options.file
    target: Path = options.output or path.with_suffix(f".{EXTENSION}")
    if options.output is not None:
        check_output("-o", target, (".mid", ".midi"))
    pcm, rate = read_audio(path, max_channels=2, is_foreign=True)
    tags = read_tags(path) or AudioTags(path.stem, 0, "", "", "")
    midi = transcribe_to_midi(pcm, rate, tags)
    try:
        write_atomically(target, [midi])
    except OSError as error:
        raise NotWritable(f"cannot write {target}: {error.strerror}") from error
    sys.stdout.write(f"{target}\n")
    return 0
