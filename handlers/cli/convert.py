"""`musicgen convert`: a fine-tune by audiocraft to a loadable checkpoint."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from handlers.cli.options import Commands
from musicgen.process.lazy_torch import import_torch
from musicgen.settings import Settings


def add(commands: Commands) -> None:
    """Add the command `convert`."""
    parser = commands.add_parser(
        "convert",
        help="turn a fine-tune by audiocraft into a checkpoint",
        description="Turns a folder with audiocraft's state_dict.bin (and optionally "
        "compression_state_dict.bin) into a Hugging Face checkpoint. The settings of the run are "
        "read from the files; one that a checkpoint cannot hold is refused by its name. The other "
        "weights and the licence come from the base model. Meta's models have the licence "
        "CC-BY-NC-4.0: no commercial use.",
    )
    add = parser.add_argument
    add("files", type=Path, metavar="FOLDER", help="folder with state_dict.bin")
    add(
        "--base",
        required=True,
        help="base model: a name from `musicgen models`, a folder or a hub name",
    )
    add("-o", "--output", type=Path, required=True, metavar="FOLDER", help="a new folder")
    add(
        "--settings-of-base",
        action="store_true",
        help="for files without settings: the run changed none of the base model's",
    )
    parser.set_defaults(run=_convert)


def _convert(options: argparse.Namespace, settings: Settings) -> int:
    import_torch("musicgen convert")
    from musicgen.checkpoints.audiocraft.convert import convert
    from musicgen.checkpoints.locate import locate

    base = locate(options.base, settings.revision)
    done = convert(options.files, base, options.output, settings_of_base=options.settings_of_base)
    codec = "its own codec" if done.own_codec else f"the codec of {base.label}"
    own = ", its own text encoder" if done.own_text_encoder else ""
    sys.stdout.write(
        f"{done.folder}: {done.tensors} tensors, with {codec}{own} (licence {done.licence})\n"
    )
    return 0
