"""Command line options that several targets share."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Mapping

CALL_SECONDS_MIN = 10
CALL_SECONDS: Mapping[str, tuple[int, int]] = {
    "cloudrun": (1200, 3600),
    "vertex": (600, 3600),
    "runpod": (1200, 604_800),
    "modal": (1200, 86_400),
}
"""Default and longest time of a call in seconds, by platform. Sources: https://cloud.google.com/
vertex-ai/docs/predictions/using-dedicated-endpoints, https://modal.com/docs/guide/timeouts"""
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


def add_call_seconds(parser: argparse.ArgumentParser, platform: str, keeps: bool = False) -> None:
    """Add `--call-seconds`, the time after which the platform ends a call.

    `keeps`: an existing deployment keeps its own time if none is given.
    """
    default, most = CALL_SECONDS[platform]
    kind = f"new endpoint: {default}" if keeps else f"default: {default}"
    text = f"end of a call on the platform, at most {most} ({kind})"
    parser.add_argument(
        "--call-seconds",
        type=_parse_seconds(most),
        default=None if keeps else default,
        metavar="SECONDS",
        help=text,
    )


def _parse_seconds(most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not CALL_SECONDS_MIN <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a number of seconds from {CALL_SECONDS_MIN} to {most}."
            )
        return int(text)

    return parse


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
