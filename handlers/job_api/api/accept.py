"""Validation of a `POST /generate` body, and its conversion to the fields of a job's row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handlers.input_audio import decode_inline_audio, is_web_address
from handlers.job_api.api.request_schema import (
    JOB_FIELDS,
    PRIORITY_MAX,
    WEBHOOK_URL_MAX_CHARACTERS,
)
from handlers.job_api.store.files import JobFiles
from handlers.job_api.store.models import AvailableModels
from handlers.job_api.store.texts import is_storable, list_texts
from handlers.job_api.store.upload_files import UPLOAD
from musicgen.errors import InvalidRequest, UnknownModel
from musicgen.errors.request_reasons import RequestReason
from musicgen.request import GenerationRequest
from musicgen.request.fields import to_integer

_PLACEHOLDER = Path("input")


@dataclass(frozen=True)
class AcceptedJob:
    """Validated body of a new job.

    `request`: fields other than the defaults, as JSON, without a sound from within the body:
    `sound`. `hash`: of the body as sent. `audio_seconds`: of all clips together, before trimming.
    """

    request: dict[str, Any]
    hash: str
    audio_seconds: float
    priority: int
    webhook_url: str | None
    sound: bytes | None = None


def accept(
    body: Mapping[str, Any], available: AvailableModels, owner: str, files: JobFiles
) -> AcceptedJob:
    """Validate a body and decode the sound within it. `owner`: the owner of its upload.

    Raises: `InvalidRequest` with the field.
    """
    sent = {name: value for name, value in body.items() if name not in JOB_FIELDS}
    audio = sent.get("input_audio")
    # Validate the other fields first, because reading the audio takes long.
    checked = dict(sent) if audio is None else {**sent, "input_audio": _PLACEHOLDER}
    request = GenerationRequest.from_mapping(checked)
    if request.model_version is not None:
        check_model(request.model_version, available)
    fields = request.to_mapping()
    _check_storable(fields)
    sound = None
    if audio is not None:
        del fields["input_audio"]
        if _is_reference(audio, owner, files):
            fields["input_audio"] = audio
            _check_storable({"input_audio": audio})
        else:
            sound = decode_inline_audio(audio)
    priority = _parse_priority(body.get("priority"))
    webhook = _parse_webhook(body.get("webhook_url"))
    # Hash the body as sent: a repeated call must have the same hash, but gets a new upload.
    hashed = {**sent, "priority": priority, "webhook_url": webhook}
    if isinstance(audio, str):
        # A copy of the whole sound in JSON would take its memory again.
        hashed["input_audio"] = hashlib.sha256(audio.encode("utf-8", "surrogatepass")).hexdigest()
    text = json.dumps(hashed, sort_keys=True)
    seconds = request.seconds_to_generate * len(request.texts)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return AcceptedJob(fields, digest, seconds, priority, webhook, sound)


def check_model(name: str, available: AvailableModels) -> None:
    """Refuse a model that nobody knows. Raises: `UnknownModel`."""
    if not available.is_available(name):
        raise UnknownModel.for_choice("model_version", name, sorted(available.names))


def _check_storable(fields: Mapping[str, Any]) -> None:
    """Check for characters that the database refuses. Raises: `InvalidRequest`."""
    for name, value in fields.items():
        if not all(map(is_storable, list_texts(value))):
            problem = "must not contain null characters or unpaired surrogates"
            raise InvalidRequest(name, problem)


def _is_reference(value: object, owner: str, files: JobFiles) -> bool:
    """Return whether a value is a URL or an upload of `owner`, and no sound itself."""
    if isinstance(value, str) and value.startswith(UPLOAD):
        files.uploads.check(owner, value)
        return True
    return is_web_address(value)


def _parse_priority(value: object) -> int:
    if value is None:
        return 0
    value = to_integer(value)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > PRIORITY_MAX:
        limits = {"low": -PRIORITY_MAX, "high": PRIORITY_MAX}
        problem = RequestReason("whole_between", **limits, rest="")
        raise InvalidRequest("priority", problem, value=value)
    return value


def _parse_webhook(value: object) -> str | None:
    if value is None:
        return None
    if not is_web_address(value) or len(value) > WEBHOOK_URL_MAX_CHARACTERS:
        problem = RequestReason("web_address", most=WEBHOOK_URL_MAX_CHARACTERS)
        raise InvalidRequest("webhook_url", problem, value=value)
    _check_storable({"webhook_url": value})
    return value
