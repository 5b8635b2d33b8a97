"""JSON bodies with a sound inside, read and decoded with bounded memory.

A parser builds objects many times as large as the text, and blocks all threads of the process. Only
a small text is parsed therefore; the sound is cut out of it first.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import Request

from handlers.job_api.api.slots import Slots
from handlers.job_api.errors import BodyTooLarge
from musicgen.errors import InvalidRequest
from musicgen.process.resources import return_free_memory

INLINE_MAX_BYTES = 20_000_000
"""Limit of a body with a sound inside: about 15 MB of sound in base64."""
FIELDS_MAX_BYTES = 512_000
"""Limit of the fields beside the sound: the longest prompts and sections with every character
escaped."""
_FREE_BYTES = 64_000
"""A body needs a slot from this size on."""
_FIELD = re.compile(rb'"input_audio"[ \t\r\n]*:[ \t\r\n]*"')


class BodyReader:
    """Reader of JSON bodies; large ones are read a few at once and decoded one at a time."""

    def __init__(self, total: int = 4, per_client: int = 2) -> None:
        self._slots = Slots("large bodies", total, per_client)
        self._decoding = asyncio.Lock()

    @asynccontextmanager
    async def read(self, request: Request, client: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the JSON object of a body; other large bodies wait meanwhile.

        Raises: `InvalidRequest`, `BodyTooLarge`, `ServerBusy`.
        """
        async with AsyncExitStack() as stack:
            body, is_large = bytearray(), False
            async for chunk in request.stream():
                body += chunk
                if not is_large and len(body) > _FREE_BYTES:
                    is_large = True
                    await stack.enter_async_context(self._slots.hold(client))
            if not is_large:
                yield _parse(bytes(body))
                return
            await stack.enter_async_context(self._decoding)
            stack.push_async_callback(asyncio.to_thread, return_free_memory)
            parsed = await asyncio.to_thread(_parse_large, body)
            body.clear()
            try:
                yield parsed
            finally:
                # The caller's own reference must not keep the sound.
                parsed.clear()


def _parse_large(body: bytearray) -> dict[str, Any]:
    """Parse a body of up to `INLINE_MAX_BYTES` without its sound, and put the sound in again."""
    mark = secrets.token_hex(16)
    rest, sound = _cut_sound(body, mark.encode())
    if len(rest) > FIELDS_MAX_BYTES:
        raise BodyTooLarge(
            f"The fields beside input_audio are larger than {FIELDS_MAX_BYTES / 1e6:g} MB, "
            "the limit."
        )
    parsed = _parse(rest)
    if sound is not None:
        # Elsewhere in the body the name may stand for something else.
        if parsed.get("input_audio") != mark:
            raise InvalidRequest("input_audio", "must be given once")
        parsed["input_audio"] = _load(b'"%b"' % sound)
    return parsed


def _cut_sound(body: bytearray, mark: bytes) -> tuple[bytes, bytes | None]:
    """Return the body with `mark` for its sound, and the sound as it stands there."""
    if (found := _FIELD.search(body)) is None:
        return bytes(body), None
    start = found.end()
    end = body.find(b'"', start)
    # A sound has no quotation mark, so an escaped one is part of another text.
    if end < 0 or body[end - 1 : end] == b"\\":
        return bytes(body), None
    return bytes(body[:start]) + mark + bytes(body[end:]), bytes(body[start:end])


def _parse(body: bytes) -> dict[str, Any]:
    """Return a JSON object. Raises: `InvalidRequest`."""
    parsed = _load(body)
    if not isinstance(parsed, dict):
        raise InvalidRequest("body", "must be a JSON object with the fields of a request")
    return parsed


def _load(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequest("body", 'must be JSON, such as {"prompt": "calm piano"}') from None
