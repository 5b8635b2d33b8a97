"""Options shared by several commands; those of a request come from its declaration."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from handlers.cli.paths import check_input_audio, check_output
from musicgen.catalog import MUSICGEN_LICENCE
from musicgen.errors import InvalidRequest, UnknownFormat, show_value
from musicgen.request import GenerationRequest, request_fields
from musicgen.request.fields import FieldSpec
from musicgen.request.limits import OUTPUT_FORMATS, PROMPT_MAX_CHARACTERS
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
SETTINGS_OPTIONS = {
    f"MUSICGEN_{name.upper()}": name for name in ("model", "device", "precision", "engine")
}
"""Settings with an option of `add_model_options`, by their variable."""
_TYPES: dict[str, type] = {"integer": int, "number": float, "audio": Path}
_DEFAULTS = {"seed": "random", "output_format": "the ending of -o, or wav"}
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
    add = parser.add_argument
    add("--model", help=f"{MODEL_HELP} (default: MUSICGEN_MODEL, or demo)")
    add("--device", help="auto, cpu, cuda or cuda:N (default: MUSICGEN_DEVICE, or auto)")
    add(
        "--precision",
        choices=PRECISIONS,
        help="of the weights; auto is bfloat16 on a GPU and int8 on a processor; int8 and int4 are "
        "for processors (default: MUSICGEN_PRECISION, or auto)",
    )
    add(
        "--engine",
        choices=ENGINES,
        help="transformers is the slow reference (default: MUSICGEN_ENGINE, or musicgen)",
    )


def add_request_options(parser: argparse.ArgumentParser, default_output: str) -> None:
    """Add the fields of a request as options, and the output file.

    `default_output`: in words, for the help.
    """
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
        help="file to write, in the format of its ending: "
        f"{', '.join(OUTPUT_FORMATS)}; several clips get -1, -2, ... (default: {default_output})",
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
    ending = ""
    if options.output is not None:
        check_output("output", options.output)
        ending = options.output.suffix.removeprefix(".").lower()
    if ending and ending not in OUTPUT_FORMATS and payload["output_format"] is None:
        endings = ", ".join(f".{name}" for name in OUTPUT_FORMATS)
        raise UnknownFormat("output", f"must end in one of {endings}", value=options.output.name)
    payload["output_format"] = payload["output_format"] or ending or None
    if (audio := payload.get("input_audio")) is not None:
        check_input_audio(audio)
    request = GenerationRequest.from_mapping(payload)
    if ending and ending != request.output_format:
        problem = f"must end in .{request.output_format}, the format"
        raise InvalidRequest("output", problem, value=options.output.name)
    return request


def name_options(error: InvalidRequest, options: argparse.Namespace) -> str:
    """Return the message of an error with the options that were typed, not the fields behind them.

    A field with a plain name, such as `loop`, is also a word: it is replaced only where it is the
    subject or is needed.
    """
    names = _list_names(options)
    told = {name: option for name, option in names.items() if "_" in name}

    def replace(text: str) -> str:
        text = re.sub(r"\w+", lambda word: told.get(word[0], word[0]), text)
        return re.sub(r"(?<=needs )\w+", lambda word: names.get(word[0], word[0]), text)

    field, problem = names.get(error.field, error.field), replace(error.problem)
    advice = replace(error.advice)
    return str(InvalidRequest(field, problem, value=error.value, advice=advice))


def name_setting(text: str, options: argparse.Namespace) -> str:
    """Return a message about a setting that came from an option with the name of the option."""
    for variable, name in SETTINGS_OPTIONS.items():
        if getattr(options, name, None) is not None and text.startswith(f"{variable} "):
            return f"--{name}{text.removeprefix(variable)}"
    return text


def _list_names(options: argparse.Namespace) -> dict[str, str]:
    """Return the names on the command line of the fields in a command's errors."""
    names: dict[str, str] = dict(getattr(options, "names", {}))
    if "engine" in options:
        names["model"] = "--model"
    if "prompts" in options:
        names |= _OPTIONS | {"output": "-o"}
    return names


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
        more |= {"type": _accept(kind), "default": default, "metavar": spec.metavar}
    parser.add_argument(spec.option, **more)


def _accept(kind: type) -> Callable[[str], Any]:
    """Return the type of an option whose limits are the request's."""
    if kind not in (int, float):
        return kind

    def parse(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            name = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"must be {name} (was {show_value(text)})") from None

    return parse


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
    start = "Switches this off: " if spec.default is True else ""
    text = f"{start}{spec.help}{f' ({known})' if known else ''}"
    text = re.sub(r"\w+_\w+", lambda word: _OPTIONS.get(word[0], word[0]), text)
    text = re.sub(r"(?<=needs )\w+", lambda word: _OPTIONS.get(word[0], word[0]), text)
    # argparse reads % as a format.
    return text.replace("%", "%%")


_OPTIONS = {spec.name: spec.option for spec in request_fields().values() if spec.option}
_OPTIONS["model_version"] = "--model"
