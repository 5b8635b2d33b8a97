"""docs/errors.md: statuses, every error of a request with an input, and all other messages.

The text of a request's error comes from sending the input to `GenerationRequest.from_mapping`; the
text of any other message is read from the `raise` statement in the source.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from handlers.contract import find_caller_text, find_status
from infra.check.tools import ROOT
from infra.generate.blocks import replace_blocks
from infra.generate.error_inputs import inputs
from infra.generate.raises import read_messages, show_counts
from musicgen.errors import InvalidRequest, MusicGenError
from musicgen.errors.request_reasons import REQUEST_REASONS
from musicgen.errors.sound_reasons import SOUND_REASONS
from musicgen.request import GenerationRequest

ADVICE = {
    413: "configure a bucket, or ask for less or for mp3",
    422: "correct the field",
    499: "none: the caller cancelled",
    500: "operator: see the text or the log",
    501: "operator: install the extra",
    502: "operator: check the other server; clips wait in the spool",
    503: "retry: a worker is replaced, the queue is full, or the bucket or database is away",
    507: "choose a smaller model or request, or make room",
}


def render(text: str) -> str:
    """Return the text of docs/errors.md with its tables written anew."""
    text = replace_blocks(text, "statuses", _statuses())
    text = replace_blocks(text, "texts", _caller_texts())
    text = replace_blocks(text, "requests", _request_errors())
    text = replace_blocks(text, "sounds", _sound_reasons())
    return replace_blocks(text, "messages", _messages())


def error_classes() -> list[type[MusicGenError]]:
    """Return the error tree, each class after its base."""
    classes: list[type[MusicGenError]] = [MusicGenError]
    for parent in classes:
        # Subclasses elsewhere are private to their module.
        own = (c for c in parent.__subclasses__() if c.__module__.startswith("musicgen.errors"))
        classes += own
    return classes


def _statuses() -> str:
    codes: dict[int, list[str]] = {}
    for cls in error_classes():
        codes.setdefault(find_status(cls.__new__(cls)), []).append(f"`{cls.code}`")
    rows = [(str(s), " ".join(c), ADVICE[s]) for s, c in sorted(codes.items())]
    return _table(("status", "codes", "what to do"), rows)


def _caller_texts() -> str:
    codes: dict[str, list[str]] = {}
    for cls in error_classes():
        text = find_caller_text(cls.__new__(cls))
        if text is not None:
            codes.setdefault(text, []).append(f"`{cls.code}`")
    return _table(("codes", "text"), [(" ".join(c), text) for text, c in codes.items()])


def _request_errors() -> str:
    rows = []
    for payload in inputs():
        shown = json.dumps(payload) if len(str(payload)) < 120 else "(long)"
        error = _error_of(payload)
        rows.append((f"`{shown}`", f"`{error.code}`", _escape(str(error))))
    return _table(("input", "code", "text"), rows)


def _error_of(payload: Mapping[str, Any]) -> InvalidRequest:
    """Return the error of a payload. Raises: ValueError where there is none."""
    given = dict(payload)
    if given.get("input_audio") == "clip.wav":
        given["input_audio"] = Path("clip.wav")
    try:
        GenerationRequest.from_mapping(given)
    except InvalidRequest as error:
        return error
    raise ValueError(f"{payload} is a valid request")


def _sound_reasons() -> str:
    reasons = [*SOUND_REASONS.items(), *REQUEST_REASONS.items()]
    rows = [(f"`{code}`", _escape(show_counts(text))) for code, text in sorted(reasons)]
    return _table(("reason", "text"), rows)


def _messages() -> str:
    parts = []
    for title, folder in _folders():
        rows = [
            (f"`{message.error}`", _escape(message.text), f"`{message.path}`")
            for message in read_messages(folder)
        ]
        if rows:
            parts.append(f"### {title}\n\n{_table(('error', 'text', 'raised in'), rows)}")
    return "\n".join(parts)


def _folders() -> Iterator[tuple[str, Path]]:
    for package in ("musicgen", "handlers"):
        for folder in sorted({p.parent for p in (ROOT / package).rglob("*.py")}):
            yield str(folder.relative_to(ROOT)), folder


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def _escape(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
