"""`musicgen pack`: a checkpoint to one file with a fast start."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from handlers.cli.options import MODEL_HELP, Commands
from handlers.cli.paths import check_folder, check_input_file, check_output
from musicgen.checkpoints.packed.format import FORMS, SUFFIX, check_hashes
from musicgen.errors import InvalidRequest
from musicgen.errors.counts import format_count
from musicgen.process.lazy_torch import import_torch
from musicgen.settings import Settings


def add(commands: Commands) -> None:
    """Add the command `pack`."""
    parser = commands.add_parser(
        "pack",
        help="turn a checkpoint into one file with a fast start",
        description="Turns a checkpoint or fine-tune into one file with only the parts for "
        "inference. The form depends on the machine: native-* for processors, "
        "plain-bfloat16 for GPUs. "
        "Run an interrupted pack again to resume it. Then set MUSICGEN_MODEL to the file, its "
        "folder, or the URL of its upload.",
    )
    add = parser.add_argument
    add("model", nargs="?", help=MODEL_HELP)
    add(
        "-o",
        "--output",
        type=Path,
        default=Path("packed"),
        metavar="PATH",
        help="a folder, or a file name ending in .packed (default: %(default)s)",
    )
    add(
        "--form",
        choices=FORMS,
        default=FORMS[0],
        help="layout of the weights (default: %(default)s)",
    )
    add(
        "--check",
        type=Path,
        metavar="FILE",
        help="only compare a packed file with the hashes in it",
    )
    add("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_pack, interrupted="Interrupted. The same command resumes.")


def _pack(options: argparse.Namespace, settings: Settings) -> int:
    if options.check is not None:
        return _check(options.check)
    if options.model is None:
        advice = "Name the model to pack: musicgen pack MODEL -o FOLDER."
        raise InvalidRequest("model", "is missing", advice=advice)
    output: Path = options.output
    if output.suffix == SUFFIX:
        check_output("-o", output)
    else:
        check_folder("-o", output)
    import_torch("musicgen pack")
    from tqdm import tqdm

    from musicgen.checkpoints.obtain import obtain
    from musicgen.checkpoints.pack import pack

    source = obtain(replace(settings, model=options.model))
    with tqdm(unit=" weights", leave=False, disable=None) as bar:

        def show_progress(_: str, done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        report = pack(source, options.form, options.output, show_progress)
    if options.json:
        fields = {"path": str(report.path), "form": report.manifest.form}
        fields |= {"source": report.manifest.source, "licence": report.manifest.licence}
        numbers = {"before": report.before, "after": report.after, "resumed": report.resumed}
        sys.stdout.write(json.dumps(fields | numbers) + "\n")
        return 0
    resumed = f", {report.resumed} of them from an earlier run" if report.resumed else ""
    sys.stdout.write(
        f"{report.path}: {report.manifest.source} (licence {report.manifest.licence}), "
        f"{format_count(report.weights, 'weight')}{resumed}\n"
        f"{report.before / 1e6:.1f} MB of weights became {report.after / 1e6:.1f} MB "
        f"({report.after / report.before:.0%})\n"
    )
    return 0


def _check(path: Path) -> int:
    check_input_file("--check", path)
    manifest = check_hashes(path)
    sys.stdout.write(
        f"{path} is intact: {manifest.source} as {manifest.form} "
        f"(licence {manifest.licence}, revision {manifest.revision or 'unknown'})\n"
    )
    return 0
