"""`musicgen pack`: a checkpoint as one file that starts fast."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from handlers.cli.options import Commands
from musicgen.checkpoints.packed.format import FORMS, check_hashes
from musicgen.errors import InvalidRequest
from musicgen.settings import Settings


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "pack",
        help="turn a checkpoint into one file that starts fast",
        description="Turns a checkpoint, also a fine-tune, into one file with only what inference "
        "needs, in the form that a kind of machine reads: native-* for x86 processors, "
        "plain-bfloat16 for GPUs. An interrupted pack goes on where it was. MUSICGEN_MODEL then "
        "names the file, its folder, or the address where it was uploaded to.",
    )
    add = parser.add_argument
    add("model", nargs="?", help="a name from `musicgen models`, a folder or a hub name")
    add(
        "-o",
        "--output",
        type=Path,
        default=Path("packed"),
        metavar="PATH",
        help="a folder, or a file that ends in .packed (default: %(default)s)",
    )
    add("--form", choices=FORMS, default=FORMS[0], help="default: %(default)s")
    add("--check", type=Path, metavar="FILE", help="only compare a packed file with its hashes")
    add("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_pack)


def _pack(options: argparse.Namespace, settings: Settings) -> int:
    if options.check is not None:
        return _check(options.check)
    if options.model is None:
        raise InvalidRequest("model", None, "say what to pack: musicgen pack MODEL -o FOLDER")
    from tqdm import tqdm

    from musicgen.checkpoints.locate import locate
    from musicgen.checkpoints.pack import pack

    source = locate(options.model, settings.revision, settings.base_model)
    with tqdm(unit=" weights", leave=False, disable=None) as bar:

        def tell(_: str, done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        report = pack(source, options.form, options.output, tell)
    if options.json:
        fields = {"path": str(report.path), "form": report.manifest.form}
        fields |= {"source": report.manifest.source, "licence": report.manifest.licence}
        numbers = {"before": report.before, "after": report.after, "resumed": report.resumed}
        sys.stdout.write(json.dumps(fields | numbers) + "\n")
        return 0
    resumed = f", {report.resumed} of them from before" if report.resumed else ""
    sys.stdout.write(
        f"{report.path}: {report.manifest.source} (licence {report.manifest.licence}), "
        f"{report.weights} weights{resumed}\n"
        f"{report.before / 1e6:.1f} MB of weights became {report.after / 1e6:.1f} MB "
        f"({report.after / report.before:.0%})\n"
    )
    return 0


def _check(path: Path) -> int:
    manifest = check_hashes(path)
    sys.stdout.write(
        f"{path} is as it was packed: {manifest.source} as {manifest.form} "
        f"(licence {manifest.licence}, revision {manifest.revision or 'unknown'})\n"
    )
    return 0
