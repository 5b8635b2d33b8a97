"""Options that the measurements of a GPU share, and the random weights behind them."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def build_parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser with the shared options; `doc` begins with the description."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--model", default="musicgen-small", help="shapes of a published model")
    parser.add_argument("--checkpoint", type=Path, help="use or make the random weights here")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--save", type=Path, help="also write the JSON to this file")
    return parser


@contextmanager
def open_checkpoint(options: argparse.Namespace) -> Iterator[Path]:
    """Yield the folder with the weights; one not named by the options is deleted at the end."""
    from bench.full_size import build_full_size

    with tempfile.TemporaryDirectory() as scratch:
        folder: Path = options.checkpoint or Path(scratch) / options.model
        build_full_size(options.model, folder, device=options.device)
        yield folder
