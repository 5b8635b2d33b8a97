"""Bodies of calls as the requests within."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl

from starlette.requests import Request

from handlers.call_body import check_values, parse_object, read_body
from handlers.hf_endpoint import parse_query
from handlers.model_server.errors import WrongMediaType
from musicgen.errors import InvalidRequest

ITEMS_MAX = 16
"""Longest list of instances, and most lines of one body."""
JSON_LINES = ("application/jsonlines", "application/x-jsonlines", "application/x-ndjson")

UNTYPED = ("application/octet-stream", "binary/octet-stream", "file-path/raw-bytes")
"""Types of S3 and of SageMaker's Python SDK for a body of no declared type."""
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
"""The one header of a caller, and of a container, handed on by SageMaker; at most 1,024 visible
characters."""
_STREAM = "stream"
_ONE_ONLY = "needs a body of one request, an object or a sound"
_SWITCHES: Mapping[object, bool] = {True: True, False: False, "true": True, "false": False}

Shape = Literal["object", "instances", "lines"]


@dataclass(frozen=True)
class Call:
    """Requests of one call: the fields of each, and the shape of the body.

    An item that cannot be read is its error; only lines have those. `is_streamed`: the only item is
    to be answered by live sound.
    """

    shape: Shape
    items: list[dict[str, Any] | InvalidRequest]
    is_streamed: bool = False


async def read_call(request: Request) -> Call:
    """Read the body of a call.

    Raises: `InvalidRequest`, `BodyTooLarge`, `BodyTooSlow`, `WrongMediaType`.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0]
    kind = kind.strip().lower()
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise WrongMediaType(f"Content-Encoding {coding[:60]!r} is not read. Send the plain body.")
    is_sound = kind.startswith("audio/")
    if not (is_sound or kind == "application/json" or kind in (*JSON_LINES, *UNTYPED)):
        raise _refuse_type(kind)
    body = await read_body(request)
    if is_sound:
        return _build_object({"input_audio": body, **_read_parameters(request)})
    if kind in UNTYPED and not body.lstrip().startswith(b"{"):
        raise _refuse_type(kind)
    check_values(body)
    return await asyncio.to_thread(_parse_lines if kind in JSON_LINES else _parse_object, body)


def _refuse_type(kind: str) -> WrongMediaType:
    return WrongMediaType(
        f"Content-Type {kind[:60]!r} is not read. Send application/json, "
        "application/jsonlines or audio/..."
    )


def _read_parameters(request: Request) -> dict[str, Any]:
    """Return the fields beside a sound, of the query or of SageMaker's only header.

    Raises: `InvalidRequest`.
    """
    texts = (request.url.query, request.headers.get(ATTRIBUTES, ""))
    given = [pair for text in texts for pair in _parse_query(text)]
    for name, _ in given:
        if name == "input_audio":
            raise InvalidRequest("input_audio", "must be in the body or in the query, not in both")
        if sum(name == other for other, _ in given) > 1:
            raise InvalidRequest(name, "must be given once")
    return parse_query(dict(given))


def _parse_query(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        problem = "must be UTF-8 with percent escapes, such as prompt=caf%C3%A9"
        raise InvalidRequest("query", problem) from None


def _build_object(fields: dict[str, Any]) -> Call:
    """Return a call of one request. Raises: `InvalidRequest`."""
    wish = fields.pop(_STREAM, None)
    wish = False if wish is None else wish
    if not isinstance(wish, (bool, str)) or wish not in _SWITCHES:
        raise InvalidRequest(_STREAM, "must be true or false", value=wish)
    return Call("object", [fields], _SWITCHES[wish])


def _parse_object(body: bytes) -> Call:
    try:
        parsed = parse_object(body)
    except InvalidRequest:
        lines = body.split(b"\n")
        if lines[1:] and all(line.startswith(b"{") for line in lines if line.strip()):
            advice = "Send several lines as Content-Type application/jsonlines."
            raise InvalidRequest("body", "must be one object", advice=advice) from None
        raise
    if "instances" in parsed:
        return Call("instances", [*_read_instances(parsed)])
    return _build_object(parsed)


def _parse_lines(body: bytes) -> Call:
    lines = [line for line in body.splitlines() if line.strip()]
    if not 1 <= len(lines) <= ITEMS_MAX:
        raise InvalidRequest("body", f"must have 1 to {ITEMS_MAX} lines, not {len(lines)}")
    return Call("lines", [_load_line(line) for line in lines])


def _load_line(line: bytes) -> dict[str, Any] | InvalidRequest:
    try:
        fields = parse_object(line)
    except InvalidRequest as error:
        return error
    return InvalidRequest(_STREAM, _ONE_ONLY) if _STREAM in fields else fields


def _read_instances(parsed: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the fields of each instance, with the shared parameters."""
    for name in parsed:
        if name not in ("instances", "parameters"):
            raise InvalidRequest(
                name, "is not a part of a call", advice="Put request fields into parameters."
            )
    instances, parameters = parsed["instances"], parsed.get("parameters")
    parameters = {} if parameters is None else parameters
    if not isinstance(parameters, dict):
        raise InvalidRequest("parameters", "must be a mapping of request fields")
    if not isinstance(instances, list) or not 1 <= len(instances) <= ITEMS_MAX:
        raise InvalidRequest("instances", f"must be a list of 1 to {ITEMS_MAX} objects")
    items = []
    for instance in instances:
        fields = {"prompt": instance} if isinstance(instance, str) else instance
        if not isinstance(fields, dict):
            raise InvalidRequest("instances", "must be prompts or mappings of request fields")
        if _STREAM in fields or _STREAM in parameters:
            raise InvalidRequest(_STREAM, _ONE_ONLY)
        for name in fields:
            if name in parameters:
                raise InvalidRequest(name, "must be in instances or in parameters, not in both")
        items.append(fields | parameters)
    return items
