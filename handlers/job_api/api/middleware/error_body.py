"""JSON body of an error, for routes and for middleware."""

from __future__ import annotations

from typing import Any

from handlers.job_api import errors
from musicgen.process.logs import get_request_id


def build_error_body(status: int, code: str, message: str, **details: Any) -> dict[str, Any]:
    """Return the body of an error, with the id of the call."""
    return errors.build_error_body(status, code, message, **details, request_id=get_request_id())
