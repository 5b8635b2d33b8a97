"""Error replies in the OpenAPI document: one schema, one response for each status."""

from __future__ import annotations

from http.client import responses as PHRASES
from typing import Any

from handlers.job_api.api.openapi.headers import ERROR_HEADERS, EVERY_REPLY, refer_headers

ERROR_REPLY = {"$ref": "#/components/schemas/ErrorReply"}
ERRORS: dict[int, tuple[str, str, str, str]] = {
    400: ("BadRequest", "The call cannot be read.", "refused", "Invalid HTTP request."),
    401: (
        "Unauthorized",
        "The API key is missing or wrong.",
        "key_needed",
        "An API key is needed. Send the header Authorization: Bearer KEY.",
    ),
    403: (
        "Forbidden",
        "The API key lacks a scope, or a web page of another site makes the call.",
        "not_allowed",
        "This API key lacks the scope 'generate'.",
    ),
    404: (
        "NotFound",
        "It does not exist, has been deleted, or belongs to another caller.",
        "not_found",
        "No such job, or it has been deleted.",
    ),
    408: (
        "BodyTooSlow",
        "The body was not received in time.",
        "body_too_slow",
        "The body was not received in time.",
    ),
    409: (
        "Conflict",
        "The state of the job, or an earlier call, does not allow this one.",
        "not_there",
        "No live audio: the job is queued, has finished, or its format cannot be streamed.",
    ),
    412: (
        "OtherVersion",
        "If-Match or If-Unmodified-Since excludes the version of the file.",
        "precondition_failed",
        "The file is another version than If-Match or If-Unmodified-Since asks for. "
        "Fetch the whole file again without them.",
    ),
    413: (
        "BodyTooLarge",
        "The body is larger than the limit of this call.",
        "body_too_large",
        "The body is larger than 20 MB, the limit. Send a larger sound to POST /v1/uploads.",
    ),
    416: (
        "RangeOutside",
        "The requested range is outside the clip.",
        "range_not_satisfiable",
        "The range is outside the file. The file has 512044 bytes.",
    ),
    422: (
        "Invalid",
        "A value is not allowed; `field` names it.",
        "invalid_request",
        "duration: must be a number from 0.1 to 300 seconds (it was 900).",
    ),
    429: (
        "TooMany",
        "A limit of calls, jobs, uploads or streams is reached.",
        "too_many_calls",
        "Too many calls: the limit is 120/minute. Try again in 12 s.",
    ),
    500: (
        "Failed",
        "The server failed; the operator's log has the reason.",
        "internal_error",
        "the request failed unexpectedly; the operator's log has the reason",
    ),
    501: (
        "NotInstalled",
        "This server lacks an optional part; another try does not help.",
        "missing_dependency",
        "This server cannot do that: an optional package is not installed.",
    ),
    502: (
        "BadGateway",
        "Another server failed: the bucket, or the address of a sound.",
        "bucket_refused",
        "The server's bucket refused the clip. The operator's log has the reason.",
    ),
    503: (
        "Unavailable",
        "The queue is full, or the server is busy or without its database or bucket.",
        "queue_full",
        "The queue is full (1000 waiting jobs). Try again later.",
    ),
    504: (
        "TooLate",
        "The reply was not ready in time.",
        "timeout",
        "The job did not finish in time.",
    ),
    507: (
        "NoRoom",
        "The server has no room left on its disk.",
        "disk_full",
        "The server has no disk space left for the clip. Try again later.",
    ),
}
"""By status: name of the response, description, and code and message of an example."""
ALWAYS = (401, 429, 500, 503)
WITH_EFFECT = (403,)
WITH_BODY = (408, 413)


def build_error_responses() -> dict[str, dict[str, Any]]:
    """Return the responses of all statuses for the document's components."""
    return {
        name: {
            "description": description,
            "headers": refer_headers(*ERROR_HEADERS.get(status, ()), *EVERY_REPLY),
            "content": {
                "application/json": {
                    "schema": ERROR_REPLY,
                    "example": {"error": {"code": code, "message": message}},
                }
            },
        }
        for status, (name, description, code, message) in ERRORS.items()
    }


def add_errors(operation: dict[str, Any], *, has_effect: bool) -> None:
    """Refer to the shared responses, and add those of every operation.

    `has_effect`: the method is not a reading one.
    """
    responses = operation["responses"]
    common = [*ALWAYS, *(WITH_EFFECT if has_effect else ())]
    if "requestBody" in operation:
        common += WITH_BODY
    if operation.get("security") == []:
        common.remove(401)
    for status in common:
        responses.setdefault(str(status), {"description": PHRASES[status]})
    for status in [int(text) for text in responses if text.isdigit()]:
        if status in ERRORS:
            responses[str(status)] = _refer(status, responses[str(status)])
    operation["responses"] = {status: responses[status] for status in sorted(responses)}


def _refer(status: int, declared: dict[str, Any]) -> dict[str, Any]:
    """Return the reference to the response of a status, with a description of its own."""
    reference = {"$ref": f"#/components/responses/{ERRORS[status][0]}"}
    description = declared.get("description", PHRASES[status])
    return (
        reference if description == PHRASES[status] else {**reference, "description": description}
    )
