"""`musicgen models`: the known models with their licence and memory."""

from __future__ import annotations

import argparse
import json
import sys

from handlers.cli.options import Commands
from musicgen import catalog
from musicgen.settings import Settings


def add(commands: Commands) -> None:
    """Add the command `models`."""
    parser = commands.add_parser("models", help="list the models, their licence and memory")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_models)


def _models(options: argparse.Namespace, _: Settings) -> int:
    entries = [*catalog.CATALOG.values(), *catalog.CONVERTIBLE.values()]
    if options.json:
        from dataclasses import asdict

        sys.stdout.write(json.dumps([asdict(entry) for entry in entries], indent=2) + "\n")
        return 0
    header = (
        "NAME",
        "FAMILY",
        "SOUND",
        "FLOAT32",
        "BFLOAT16",
        "INT8",
        "INT4",
        "LICENCE",
        "WEIGHTS",
    )
    rows = [header, *(_model_row(entry) for entry in entries)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
    sys.stdout.write(
        "\nMemory: weights and the longest clip of one window, 30 s, or 10 s for audiogen-medium. "
        f"{catalog.MUSICGEN_LICENCE} forbids commercial use.\n"
        "To be converted first, as by `musicgen convert audiogen-medium -o audiogen-medium`: "
        f"{', '.join(catalog.CONVERTIBLE)}.\n"
    )
    return 0


def _model_row(entry: catalog.CatalogEntry) -> tuple[str, ...]:
    sizes = [entry.memory.get(p) for p in ("float32", "bfloat16", "int8", "int4")]
    memory = ["small" if size is None else f"{size / 1e9:.1f} GB" for size in sizes]
    sound = "stereo" if entry.channels == 2 else "mono"
    return (entry.name, entry.family, sound, *memory, entry.licence, entry.source)
