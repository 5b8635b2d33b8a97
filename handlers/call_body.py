"""Bodies of HTTP calls: read with limits of size, time and number of values."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from handlers.call_errors import BodyTooLarge, BodyTooSlow
from musicgen.errors import InvalidRequest

if TYPE_CHECKING:
    from starlette.requests import Request

BODY_MAX_BYTES = 20_000_000
"""About 15 MB of sound in base64."""
BODY_SECONDS = 60.0
VALUES_MAX = 100_000
"""Each value of JSON needs a separator, so counting these bounds the memory of the parsed body.
Base64 has none of them."""
_SEPARATORS = (b",", b"[", b"{", b":")


async def read_body(request: Request) -> bytes:
    """Return the body of a call. Raises: `BodyTooLarge`, `BodyTooSlow`."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > BODY_MAX_BYTES:
                    raise BodyTooLarge(
                        f"The body is larger than {BODY_MAX_BYTES / 1e6:g} MB, the limit. "
                        "Send the address of the sound instead."
                    )
    except TimeoutError:
        raise BodyTooSlow("The body was not received in time.") from None
    return bytes(body)


def check_values(body: bytes) -> None:
    """Refuse JSON of too many values before it is parsed. Raises: `BodyTooLarge`."""
    if sum(map(body.count, _SEPARATORS)) > VALUES_MAX:
        raise BodyTooLarge(f"The body has more than {VALUES_MAX} values, the limit.")


def parse_object(text: bytes) -> dict[str, Any]:
    """Return a JSON object. Raises: `InvalidRequest`."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequest("body", 'must be JSON, such as {"prompt": "calm piano"}') from None
    if not isinstance(parsed, dict):
        raise InvalidRequest("body", "must be a JSON object with the fields of a request")
    return parsed


async def wait_for_hang_up(request: Request) -> None:
    """Return once the caller has hung up. Its body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        continue
