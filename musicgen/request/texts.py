"""Texts of callers."""

from __future__ import annotations

from musicgen.errors import InvalidRequest


def check_text(field: str, text: str) -> None:
    r"""Refuse a text without UTF-8. JSON can write one, as "\ud800", and a tokenizer fails on it.

    Raises: `InvalidRequest`.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(field, "must not contain unpaired surrogates") from None
