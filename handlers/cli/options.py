"""Options shared by several commands; those of a request come from its declaration."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicgen.errors import InvalidInputAudio, InvalidRequest
from musicgen.request import GenerationRequest, request_fields
from musicgen.request.fields import FieldSpec
from musicgen.request.limits import PROMPT_MAX_CHARACTERS
from musicgen.settings import ENGINES, PRECISIONS

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Commands = argparse._SubParsersAction

HOST, PORT = "127.0.0.1", 8000
PORT_MAX = 65_535
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_NOT_COMPARED = 3
EXIT_AWAY = 75
"""A service needed at the start is away; the same start may succeed later (EX_TEMPFAIL)."""
EXIT_MISCONFIGURED = 78
"""Wrong settings or a wrong installation; the same start fails again (EX_CONFIG)."""
EXIT_INTERRUPTED = 130
_TYPES: dict[str, type] = {"integer": int, "number": float, "audio": Path}
_DEFAULTS = {"seed": "random", "output_format": "FILE's ending, or wav"}
"""Defaults that differ on the command line from those of the request."""


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a server: address of the API, and number of workers."""
    parser.add_argument("--host", default=HOST, help="host of the API (default: %(default)s)")
    parser.add_argument(
        "--port", type=_parse_port, default=PORT, help="port of the API (default: %(default)s)"
    )
    parser.add_argument(
        "--workers", type=int, default=1, help="workers of `all` (default: %(default)s)"
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a model and how it runs."""
    parser.add_argument("--model", help="a name from `musicgen models`, a folder or a hub name")
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", choices=PRECISIONS, help="see MUSICGEN_PRECISION")
    parser.add_argument("--engine", choices=ENGINES, help="transformers for its own, slower loop")


def add_request_options(parser: argparse.ArgumentParser) -> None:
    """Add the fields of a request as options, and the output file."""
    parser.add_argument(
        "prompts",
        nargs="*",
        metavar="PROMPT",
        help=f"description of the music, in up to {PROMPT_MAX_CHARACTERS} characters; several "
        "make several clips",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="file to write (variations get -1, -2, ...)",
    )
    for spec in request_fields().values():
        if spec.option:
            _add_option(parser, spec)


def parse_request(options: argparse.Namespace) -> GenerationRequest:
    """Build the request of parsed options. Raises: `InvalidRequest`."""
    known = request_fields()
    payload = {name: value for name, value in vars(options).items() if name in known}
    if len(options.prompts) < 2:
        payload["prompt"], payload["prompts"] = "".join(options.prompts), None
    ending = options.output.suffix.removeprefix(".").lower() if options.output else ""
    payload["output_format"] = payload["output_format"] or ending or None
    audio = payload.get("input_audio")
    if audio is not None and not audio.is_file():
        raise InvalidInputAudio("input_audio", "is not a file", value=audio)
    request = GenerationRequest.from_mapping(payload)
    if ending and ending != request.output_format:
        problem = f"must end in .{request.output_format}, the format"
        raise InvalidRequest("output", problem, value=options.output.name)
    return request


def _parse_port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= PORT_MAX:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to {PORT_MAX} (was {text!r})")
    return int(text)


def _add_option(parser: argparse.ArgumentParser, spec: FieldSpec) -> None:
    more: dict[str, Any] = {"dest": spec.name, "help": _describe(spec)}
    if spec.kind == "boolean":
        more["action"] = "store_false" if spec.default else "store_true"
    else:
        kind = type(spec.choices[0]) if spec.choices else _TYPES.get(spec.kind, str)
        default = None if spec.name in _DEFAULTS else spec.default
        more |= {"type": kind, "default": default, "metavar": spec.metavar}
    parser.add_argument(spec.option, **more)


def _describe(spec: FieldSpec) -> str:
    """Return the help of an option: help, then limits, default and what it needs."""
    facts = [", ".join(map(str, spec.choices)) if spec.choices else spec.range]
    default = _DEFAULTS.get(spec.name, spec.default)
    if spec.kind != "boolean" and default not in (None, ""):
        facts.append(
            f"default: {default:g}" if isinstance(default, float) else f"default: {default}"
        )
    if spec.needs:
        facts.append(f"needs {spec.needs}")
    known = "; ".join(fact for fact in facts if fact)
    start = "Do not: " if spec.default is True else ""
    # argparse reads % as a format.
    return f"{start}{spec.help}{f' ({known})' if known else ''}".replace("%", "%%")
