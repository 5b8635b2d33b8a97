"""`musicgen convert`: a model in audiocraft's format to a loadable checkpoint."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from handlers.cli.options import Commands
from handlers.cli.paths import check_folder
from musicgen.catalog import CONVERTIBLE, MERT, UNKNOWN_LICENCE, find_convertible
from musicgen.checkpoints.address import is_hub_name
from musicgen.checkpoints.card import CARD
from musicgen.checkpoints.locate import Source
from musicgen.errors import InvalidRequest, UnknownModel
from musicgen.errors.counts import format_count
from musicgen.process.lazy_torch import import_torch
from musicgen.settings import Settings


def add(commands: Commands) -> None:
    """Add the command `convert`."""
    parser = commands.add_parser(
        "convert",
        help="turn a model in audiocraft's format into a checkpoint",
        description="Turns a folder with audiocraft's state_dict.bin (and optionally "
        "compression_state_dict.bin) into a Hugging Face checkpoint. The settings of the run are "
        "read from the files; one that a checkpoint cannot hold is refused by its name. The other "
        "weights and the licence come from the base model. A name in place of the folder downloads "
        f"a published model and its text encoder: {', '.join(CONVERTIBLE)}. Meta's models have the "
        "licence CC-BY-NC-4.0: no commercial use.",
    )
    add = parser.add_argument
    add(
        "files", metavar="FOLDER", help=f"folder with state_dict.bin, or {' or '.join(CONVERTIBLE)}"
    )
    add(
        "--base",
        help="base model: a name from `musicgen models`, a folder or a hub name; for files with "
        "their own codec also a T5",
    )
    add("-o", "--output", type=Path, required=True, metavar="FOLDER", help="a new folder")
    add(
        "--settings-of-base",
        action="store_true",
        help="for files without settings: the run changed none of the base model's",
    )
    add(
        "--features",
        default=None,
        help=f"for a style model: MERT, a folder or a hub name (default: {MERT})",
    )
    parser.set_defaults(run=_convert)


def _convert(options: argparse.Namespace, settings: Settings) -> int:
    features = options.features or MERT
    if not Path(features).exists() and not is_hub_name(features):
        problem = f"must be an existing folder, or a hub name such as {MERT}"
        raise InvalidRequest("--features", problem, value=features)
    check_folder("-o", options.output)
    import_torch("musicgen convert")
    from musicgen.checkpoints.audiocraft.convert import convert

    files, base, licence = _find_inputs(options, settings)
    done = convert(
        files,
        base,
        options.output,
        settings_of_base=options.settings_of_base,
        licence=licence,
        locate_features=lambda: _locate_features(features),
    )
    codec = "its own codec" if done.own_codec else f"the codec of {base.label}"
    own = ", its own text encoder" if done.own_text_encoder else ""
    tensors = format_count(done.tensors, "tensor")
    sys.stdout.write(f"{done.folder}: {tensors}, with {codec}{own} (licence {done.licence})\n")
    return 0


def _locate_features(name: str) -> Source:
    """Return MERT from a folder or the hub. Raises: `CheckpointNotFound`."""
    from musicgen.checkpoints.card import read_licence
    from musicgen.checkpoints.hub import download_snapshot
    from musicgen.checkpoints.locate import Source

    folder = Path(name)
    if not folder.exists():
        folder = download_snapshot(name, None, ["config.json", "pytorch_model.bin", CARD])
    return Source(name, folder, read_licence(folder))


def _find_inputs(options: argparse.Namespace, settings: Settings) -> tuple[Path, Source, str]:
    """Return the folder of the files, the base model, and the licence of the files if known.

    Raises: `InvalidRequest`, `CheckpointNotFound`.
    """
    from musicgen.checkpoints.audiocraft.files import COMPRESSION_MODEL, LANGUAGE_MODEL
    from musicgen.checkpoints.hub import download_snapshot

    files = Path(options.files)
    entry = None if files.exists() else find_convertible(options.files)
    if entry is None:
        if not files.is_dir():
            known = ", ".join(CONVERTIBLE)
            problem = f"must be an existing folder, or one of {known}"
            raise InvalidRequest("FOLDER", problem, value=options.files)
        if options.base is None:
            raise InvalidRequest("--base", f"must name the base model of {files}")
        return files, _locate_base(options.base, settings.revision), UNKNOWN_LICENCE
    base = _locate_base(str(options.base or entry.text_encoder))
    names = [LANGUAGE_MODEL, COMPRESSION_MODEL, CARD]
    return download_snapshot(entry.source, settings.revision, names), base, entry.licence


def _locate_base(name: str, revision: str | None = None) -> Source:
    from musicgen.checkpoints.locate import locate

    try:
        return locate(name, revision)
    except UnknownModel as error:
        raise InvalidRequest("--base", error.problem, value=name, advice=error.advice) from None
