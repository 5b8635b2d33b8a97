"""Command line options that several targets share."""

from __future__ import annotations

import argparse
import os


def add_limits(parser: argparse.ArgumentParser, unit: str) -> None:
    """Add `--min` and `--max` of a new deployment; an existing one keeps its own."""
    for name, word, default in (("--min", "fewest", 0), ("--max", "most", 1)):
        text = f"{word} {unit} of a new deployment (default: %(default)s)"
        parser.add_argument(name, type=int, default=default, help=text)


def add_env(parser: argparse.ArgumentParser, note: str) -> None:
    """Add `--env` for settings of the deployment."""
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        type=_parse_variable,
        metavar="NAME=VALUE",
        help=f"a setting of README.md; NAME alone copies the value of this shell; {note}",
    )


def _parse_variable(text: str) -> tuple[str, str]:
    name, is_given, value = text.partition("=")
    if not is_given and name not in os.environ:
        raise argparse.ArgumentTypeError(f"{name} is not set in this shell. Use {name}=VALUE.")
    return name, value if is_given else os.environ[name]
