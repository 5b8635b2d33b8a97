"""Answers of calls: JSON, JSON lines, or one clip as it is."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from handlers.call_errors import RETRY_SECONDS, ApiError
from handlers.contract import ErrorReport, describe_error
from handlers.job_api.errors import build_error_body
from handlers.model_server.bodies import ATTRIBUTES
from handlers.model_server.errors import NotAcceptable
from handlers.reply import build_reply
from musicgen.errors import InlineTooLarge
from musicgen.request.limits import OUTPUT_FORMATS
from musicgen.result import GenerationResult

JSON_OVERHEAD = 64_000
"""Room in an answer for the facts about its clips."""
_ATTRIBUTES_MAX = 1024
_AUDIO_TYPES = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/flac": "flac",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "audio/opus": "opus",
}
_JSON_TYPES = ("", "*/*", "application/*", "application/json")
_LINES = "application/jsonlines"
_REFUSED = re.compile(r"q *= *0(\.0*)?")


def choose_audio(accept: str | None, fields: Mapping[str, Any]) -> str | None:
    """Return the format of a clip that is the answer itself, or None for an answer in JSON.

    The first known type of Accept counts, unless its weight is q=0. `audio/*` takes the request's
    own format. A format that no request has is None too: the request's error names it.

    Raises: `NotAcceptable`.
    """
    own = fields.get("output_format")
    if own is not None and own not in OUTPUT_FORMATS:
        return None
    for part in (accept or "").split(","):
        kind, *parameters = (text.strip().lower() for text in part.split(";"))
        if any(_REFUSED.fullmatch(parameter) for parameter in parameters):
            continue
        if kind in _JSON_TYPES or kind == _LINES:
            return None
        if kind == "audio/*":
            return own or OUTPUT_FORMATS[0]
        if kind in _AUDIO_TYPES:
            form = _AUDIO_TYPES[kind]
            is_ogg = form == "ogg" and own == "opus"
            if own not in (None, form) and not is_ogg:
                raise NotAcceptable(f"Accept is {kind}, but output_format is {own}.")
            return own or form
    raise NotAcceptable("Accept must name application/json or a type of audio, such as audio/wav.")


def build_audio(result: GenerationResult, most: int) -> Response:
    """Return the only clip of a result, with the facts about it in its headers.

    Raises: `InlineTooLarge`.
    """
    clip = result.clips[0]
    data = clip.address.partition(",")[2]
    sound = base64.b64decode(data)
    _check_size(len(sound), most)
    facts = {
        "job_id": result.job_id,
        "seed": clip.seed,
        "seconds": round(clip.seconds, 3),
        "licence": result.licence,
        "model": result.model,
    }
    return Response(sound, media_type=clip.content_type, headers=build_attributes(facts))


def build_attributes(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the header with facts about an answer in audio."""
    text = ";".join(f"{name}={value}" for name, value in facts.items())
    return {ATTRIBUTES: "".join(c for c in text if "!" <= c <= "~")[:_ATTRIBUTES_MAX]}


def require_json(accept: str | None) -> None:
    """Refuse audio as the answer to several requests. Raises: `NotAcceptable`."""
    if choose_audio(accept, {}) is not None:
        raise NotAcceptable("Several requests are answered in JSON. Accept application/json.")


def build_json(content: Mapping[str, Any], most: int) -> Response:
    """Return an answer in JSON. Raises: `InlineTooLarge`."""
    body = _dump(content)
    _check_size(len(body), most)
    return Response(body, media_type="application/json")


def build_lines(lines: list[Mapping[str, Any]], most: int) -> Response:
    """Return an answer in JSON lines. Raises: `InlineTooLarge`."""
    body = b"".join(_dump(line) + b"\n" for line in lines)
    _check_size(len(body), most)
    return Response(body, media_type=_LINES)


def build_item(outcome: GenerationResult | BaseException) -> Mapping[str, Any]:
    """Return one line: a reply, or the body of an error."""
    return describe(outcome)[1] if isinstance(outcome, BaseException) else build_reply(outcome)


def build_failure(error: BaseException) -> JSONResponse:
    """Return the answer to a failed call, and log what its caller does not get."""
    report, body = describe(error)
    after = getattr(error, "retry_after", None) or (RETRY_SECONDS if report.status == 503 else None)
    headers = {} if after is None else {"Retry-After": str(after)}
    return JSONResponse(body, report.status, headers)


def describe(error: BaseException) -> tuple[ErrorReport, dict[str, Any]]:
    """Return an error's public form, and its body."""
    if isinstance(error, ApiError):
        report = ErrorReport(error.status, error.code, str(error))
    else:
        report = describe_error(error)
    field = getattr(error, "field", None)
    details = {} if field is None else {"field": field}
    # A lone surrogate from the caller cannot be encoded.
    text = report.text.encode("utf-8", "backslashreplace").decode()
    return report, build_error_body(report.status, report.code, text, **details)


def _dump(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise InlineTooLarge(
            f"the answer has {size / 1e6:.1f} MB, at most {most / 1e6:.1f} MB is allowed. "
            "Configure a bucket (MUSICGEN_BUCKET), or ask for a shorter clip, fewer variations "
            "or output_format mp3."
        )
