"""Command line options that several targets share."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


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


def require_form(pattern: str, form: str) -> Callable[[str], str]:
    """Return a type of argparse: a text that matches the whole `pattern`, described by `form`.

    A name or a region becomes a part of an address. A wrong one could send the token elsewhere.
    """

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(f"{text!r} is not {form}.")
        return text

    return check


parse_owner_name = require_form(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", "of the form OWNER/NAME")


def _parse_variable(text: str) -> tuple[str, str]:
    name, is_given, value = text.partition("=")
    if not _VARIABLE.fullmatch(name):
        raise argparse.ArgumentTypeError(f"{name!r} is no name of a variable. Use NAME=VALUE.")
    if not is_given and name not in os.environ:
        raise argparse.ArgumentTypeError(f"{name} is not set in this shell. Use {name}=VALUE.")
    return name, value if is_given else os.environ[name]
