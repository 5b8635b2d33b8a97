"""A body of `POST /generate`: checked as every platform's request is, and made fit for a row.

Sounds do not go through the database: what is sent inside the body becomes an upload.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from handlers.input_audio import fetch_input_audio
from handlers.job_api.api.request_schema import PRIORITY_MAX
from handlers.job_api.store.files import UPLOAD, Files
from handlers.job_api.store.models import Known
from musicgen.errors import InvalidRequest, UnknownModel
from musicgen.request import GenerationRequest

OF_THE_JOB = ("priority", "webhook_url")
_PLACEHOLDER = Path("input")
_URLS = ("http://", "https://")


@dataclass(frozen=True)
class Accepted:
    """`request`: what differs from the defaults, as JSON."""

    request: dict[str, Any]
    hash: str
    audio_seconds: float
    priority: int
    webhook_url: str | None


def accept(body: Mapping[str, Any], known: Known, owner: str, files: Files) -> Accepted:
    """`known`: the models that may be asked for.

    Raises: `InvalidRequest` naming the field.
    """
    sent = {name: value for name, value in body.items() if name not in OF_THE_JOB}
    audio = sent.get("input_audio")
    # The fields first: a wrong one must not cost the reading of a sound.
    checked = dict(sent) if audio is None else {**sent, "input_audio": _PLACEHOLDER}
    request = GenerationRequest.from_mapping(checked)
    if request.model_version is not None and not known.allows(request.model_version):
        raise UnknownModel.for_choice("model_version", request.model_version, sorted(known.names))
    told = request.to_mapping()
    _check_storable(told)
    if audio is not None:
        told["input_audio"] = _audio(audio, owner, files)
    priority, webhook = _priority(body.get("priority")), _webhook(body.get("webhook_url"))
    # Of what was sent, not of what it became: the same call again must have the same hash.
    text = json.dumps({**sent, "priority": priority, "webhook_url": webhook}, sort_keys=True)
    seconds = request.seconds_to_generate * len(request.texts)
    return Accepted(told, hashlib.sha256(text.encode()).hexdigest(), seconds, priority, webhook)


def _check_storable(told: Mapping[str, Any]) -> None:
    """Raises: `InvalidRequest` for characters that a database has no room for."""
    for name, value in told.items():
        for text in _texts(value):
            if any(each == "\0" or "\ud800" <= each <= "\udfff" for each in text):
                allowed = "text without zero bytes and halves of characters"
                raise InvalidRequest(name, text.encode("ascii", "backslashreplace"), allowed)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _texts(each)


def _audio(value: object, owner: str, files: Files) -> str:
    if isinstance(value, str) and value.startswith(UPLOAD):
        files.uploaded(owner, value)
        return value
    if isinstance(value, str) and value.lower().startswith(_URLS):
        return value
    with TemporaryDirectory(prefix="musicgen-input-") as folder:
        path = fetch_input_audio(value, Path(folder))
        assert path is not None, "there was a value"
        return UPLOAD + files.adopt(owner, path)


def _priority(value: object) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > PRIORITY_MAX:
        allowed = f"a whole number from {-PRIORITY_MAX} to {PRIORITY_MAX}"
        raise InvalidRequest("priority", value, allowed)
    return value


def _webhook(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.lower().startswith(_URLS) or len(value) > 2000:
        raise InvalidRequest("webhook_url", value, "an http(s) URL of at most 2000 characters")
    return value
