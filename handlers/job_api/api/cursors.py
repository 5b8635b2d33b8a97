"""Cursors of pages: the time and the id of the last row, as text for the next call."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from musicgen.errors import InvalidRequest

_ID = re.compile(r"[0-9a-f]{1,64}")


def encode_cursor(row: Mapping[str, Any]) -> str:
    """Return the cursor behind a row with `created_at` and `id`."""
    text = f"{row['created_at'].isoformat()} {row['id']}"
    return base64.urlsafe_b64encode(text.encode()).decode()


def decode_cursor(text: str) -> tuple[datetime, str]:
    """Return (created_at, id) of a cursor. Raises: `InvalidRequest`."""
    try:
        created, name = base64.urlsafe_b64decode(text).decode().split(" ")
        moment = datetime.fromisoformat(created)
        if moment.tzinfo is None or not _ID.fullmatch(name):
            raise ValueError(text)
        # PostgreSQL refuses some of the texts and offsets that Python reads.
        return moment.astimezone(UTC), name
    except (ValueError, OverflowError, binascii.Error, UnicodeError):
        raise InvalidRequest(
            "before", "must be the `next` of an earlier page", value=text
        ) from None
