"""Write the repository of a Hugging Face Inference Endpoint into a folder, ready to upload.

    python -m infra.huggingface.layout --model small --output endpoint
    python -m infra.huggingface.layout --model small --output endpoint --without-weights

The first form copies the checkpoint or the packed file, and the endpoint loads it from its own
repository. The second form names the model, and the endpoint downloads it from the hub at each
start.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from handlers.hf_endpoint import MODEL_NAME_FILE
from infra.huggingface.card import card_of, hub_name
from musicgen import catalog
from musicgen.checkpoints.local import find_licence
from musicgen.checkpoints.locate import Source, locate
from musicgen.checkpoints.packed.format import SUFFIX, find_packed_files
from musicgen.errors import MusicGenError
from musicgen.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("handlers", "musicgen")
_SMALL_FILES = ("*.json", "spiece.model")
_WEIGHTS_BY_PREFERENCE = ("*.safetensors", "*.bin")
_LARGE_FILES = (f"*{SUFFIX}", *_WEIGHTS_BY_PREFERENCE, "spiece.model")


class LayoutError(Exception):
    """Error in the options of a layout."""


def lay_out(model: str, output: Path, *, with_weights: bool = True, force: bool = False) -> Source:
    """Write the repository into `output` and return its model.

    `force` replaces an earlier layout: the packages, the JSON and weight files beside them, and
    files with the same names. Everything else in the folder stays, such as .git.

    Raises: `LayoutError`, `UnknownModel`, `CheckpointNotFound`.
    """
    source = locate(model) if with_weights else _find_name(model)
    _check_output(output, source)
    if output.exists() and any(output.iterdir()):
        if not force:
            raise LayoutError(f"{output} is not empty. Choose another folder, or add --force.")
        _clear(output)
    output.mkdir(parents=True, exist_ok=True)
    if with_weights:
        _check_room(output, _checkpoint_files(source.folder))
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, output / package, ignore=ignored)
    shutil.copyfile(ROOT / "LICENSE", output / "musicgen" / "LICENSE")
    shutil.copyfile(ROOT / "handler.py", output / "handler.py")
    shutil.copyfile(ROOT / "infra/huggingface/requirements.txt", output / "requirements.txt")
    (output / "README.md").write_text(card_of(source), encoding="utf-8")
    attributes = [f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in _LARGE_FILES]
    (output / ".gitattributes").write_text("".join(attributes), encoding="utf-8")
    if with_weights:
        for file in _checkpoint_files(source.folder):
            shutil.copyfile(file, output / file.name)
    else:
        (output / MODEL_NAME_FILE).write_text(f"{source.name}\n", encoding="utf-8")
    return source


def _find_name(model: str) -> Source:
    """Return a model of the catalog or the hub by its name, without a download."""
    entry = catalog.find(model)
    if entry is not None:
        return Source(entry.name, ROOT / PACKAGES[1], entry.licence)
    if not Path(model).exists() and (raw := catalog.find_convertible(model)) is not None:
        raise LayoutError(f"model: {catalog.describe_conversion(raw)}")
    if Path(model).is_dir() or hub_name(model) is None:
        raise LayoutError(
            f"model: {model} is not a name of the catalog or the hub. Without weights, use one of "
            f"{', '.join(catalog.CATALOG)} or OWNER/NAME."
        )
    licence = find_licence(Settings(model=model), asks_hub=True)
    return Source(model, ROOT / PACKAGES[1], licence)


def _check_output(output: Path, source: Source) -> None:
    """Refuse an output folder overlapping with a source, because the output is overwritten."""
    place = output.resolve()
    if output.exists() and not output.is_dir():
        raise LayoutError(f"{output} is a file. The output must be a folder.")
    sources = [ROOT / package for package in PACKAGES] + [source.folder.resolve()]
    for folder in sources:
        if place == folder or place in folder.parents or folder in place.parents:
            raise LayoutError(
                f"{output} overlaps with {folder}, a folder to copy. Choose another output."
            )


def _check_room(output: Path, files: Sequence[Path]) -> None:
    """Refuse a disk without room for a copy of these files."""
    needed, free = sum(file.stat().st_size for file in files), shutil.disk_usage(output).free
    if needed > free:
        raise LayoutError(
            f"{output} needs {needed / 1e9:.1f} GB for the weights ({free / 1e9:.1f} GB free). "
            "Free some space, choose another disk, or add --without-weights."
        )


def _checkpoint_files(folder: Path) -> list[Path]:
    """Return the files to load: a packed file, or a checkpoint's files with one format of weights.

    Repositories often have the same weights in two formats.
    """
    if folder.is_file():
        return [folder]
    if packed := find_packed_files(folder):
        return list(packed)
    files = [file for pattern in _SMALL_FILES for file in sorted(folder.glob(pattern))]
    for pattern in _WEIGHTS_BY_PREFERENCE:
        weights = sorted(folder.glob(pattern))
        if weights:
            return files + weights
    return files


def _clear(output: Path) -> None:
    for package in PACKAGES:
        shutil.rmtree(output / package, ignore_errors=True)
    for pattern in (*_SMALL_FILES, *_LARGE_FILES, MODEL_NAME_FILE):
        for file in output.glob(pattern):
            file.unlink()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.huggingface.layout", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--model", required=True, help="a catalog name, a folder, a packed file or a hub name"
    )
    parser.add_argument("--output", required=True, type=Path, help="a new or empty folder")
    parser.add_argument(
        "--without-weights", action="store_true", help="write the model's name, not its files"
    )
    parser.add_argument("--force", action="store_true", help="replace an earlier layout")
    options = parser.parse_args(arguments)
    try:
        source = lay_out(
            options.model,
            options.output,
            with_weights=not options.without_weights,
            force=options.force,
        )
    except (LayoutError, MusicGenError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(
        f"{options.output} serves {source.name} (licence {source.licence}). To upload it:\n"
        "  hf auth login\n"
        f"  hf upload OWNER/NAME {options.output} . --private\n"
        "Then create an endpoint from OWNER/NAME with the task custom.\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
