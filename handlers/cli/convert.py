"""`musicgen convert`: a fine-tune of audiocraft's as a checkpoint that can be loaded."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from handlers.cli.options import Commands
from musicgen.settings import Settings


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "convert",
        help="turn audiocraft's files of a fine-tune into a checkpoint",
        description="Turns a folder with audiocraft's state_dict.bin, and its "
        "compression_state_dict.bin where there is one, into a Hugging Face checkpoint. What "
        "audiocraft does not keep in them comes from the checkpoint of the model that was tuned, "
        "and so does the licence: of Meta's models CC-BY-NC-4.0, not for commercial use.",
    )
    add = parser.add_argument
    add("files", type=Path, metavar="FOLDER", help="with state_dict.bin")
    add("--base", required=True, help="a name from `musicgen models`, a folder or a hub name")
    add("-o", "--output", type=Path, required=True, metavar="FOLDER", help="a new one")
    parser.set_defaults(run=_convert)


def _convert(options: argparse.Namespace, settings: Settings) -> int:
    from musicgen.checkpoints.audiocraft import convert
    from musicgen.checkpoints.locate import locate

    base = locate(options.base, settings.revision)
    done = convert(options.files, base, options.output)
    codec = "its own codec" if done.own_codec else f"the codec of {base.label}"
    sys.stdout.write(
        f"{done.folder}: {done.tensors} tensors, with {codec} (licence {base.licence})\n"
    )
    return 0
