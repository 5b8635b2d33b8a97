"""Options shared by several commands; those of a request come from its declaration."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from musicgen.catalog import MUSICGEN_LICENCE
from musicgen.errors import InvalidInputAudio, InvalidRequest, MissingDependency, show_value
from musicgen.request import GenerationRequest, request_fields
from musicgen.request.fields import FieldSpec
from musicgen.request.limits import PROMPT_MAX_CHARACTERS
from musicgen.settings import ENGINES, PRECISIONS

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Commands = argparse._SubParsersAction

HOST, PORT = "127.0.0.1", 8000
PORT_MAX, WORKERS_MAX = 65_535, 256
MODEL_HELP = (
    "a name from `musicgen models`, a folder, a hub name, or a packed file or archive, also at a "
    f"URL. Meta's weights are {MUSICGEN_LICENCE}: no commercial use"
)
_TYPES: dict[str, type] = {"integer": int, "number": float, "audio": Path}
_DEFAULTS = {"seed": "random", "output_format": "FILE's ending, or wav"}
"""Defaults that differ on the command line from those of the request."""


def build_number(
    kind: type[int] | type[float], low: float, high: float, *, above: bool = False
) -> Callable[[str], int | float]:
    """Return the type of an option: a finite number from `low`, or `above` it, to `high`."""
    name = "a whole number" if kind is int else "a number"
    limits = f"above {low:g} and at most {high}" if above else f"from {low:g} to {high:g}"

    def parse(text: str) -> int | float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if low < value <= high or (value == low and not above):
            return value
        raise argparse.ArgumentTypeError(f"must be {name} {limits} (was {show_value(text)})")

    return parse


def parse_url(text: str) -> str:
    """Return the URL of a server, as the type of an option."""
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:
        is_url = False
    if not is_url:
        problem = f"must be a URL such as http://{HOST}:{PORT} (was {show_value(text)})"
        raise argparse.ArgumentTypeError(problem)
    return text


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a server: address of the API, and number of workers."""
    parser.add_argument(
        "--host", type=_parse_host, default=HOST, help="host of the API (default: %(default)s)"
    )
    parser.add_argument(
        "--port",
        type=build_number(int, 1, PORT_MAX),
        default=PORT,
        help="port of the API (default: %(default)s)",
    )
    parser.add_argument(
        "--workers",
        type=build_number(int, 0, WORKERS_MAX),
        default=1,
        help="workers of `all` (default: %(default)s)",
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a model and how it runs."""
    parser.add_argument("--model", help=MODEL_HELP)
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
    if options.output is not None and not _is_file_name(options.output):
        problem = "must be a file, not a folder or a device"
        raise InvalidRequest("output", problem, value=options.output)
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


def require_database_packages(purpose: str) -> None:
    """Raise `MissingDependency` if the packages of the job API's database are not installed."""
    try:
        import procrastinate  # noqa: F401
        import psycopg  # noqa: F401
    except ImportError as error:
        raise MissingDependency(str(error.name), purpose, "api") from None


def _is_file_name(path: Path) -> bool:
    return bool(path.name) and (path.is_file() or not path.exists())


def _parse_host(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("must be an address; 0.0.0.0 and :: are all of them")
    return text


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
