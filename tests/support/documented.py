"""Replies of the job API beside its OpenAPI document: nothing may be undocumented.

Schemathesis imports this module as its hooks: `SCHEMATHESIS_HOOKS=tests.support.documented`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import schemathesis

from handlers.job_api.api.app import SECURITY_HEADERS

ANY_REPLY = {
    *("connection", "content-length", "content-type", "date", "server", "transfer-encoding"),
    *(name.lower() for name in SECURITY_HEADERS),
    "content-security-policy",
}
"""Headers of HTTP itself and of the security policy, which docs/security.md describes."""


def find_undocumented(
    document: dict[str, Any], method: str, path: str, status: int, headers: Iterable[str]
) -> list[str]:
    """The status, or the headers of a reply, that the document does not have.

    `path`: as the document has it, with its parameters.
    """
    responses = document["paths"][path][method.lower()]["responses"]
    response = responses.get(str(status))
    if response is None:
        return [f"status {status}"]
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
    known = {name.lower() for name in response.get("headers", {})} | ANY_REPLY
    return [f"header {name}" for name in sorted({name.lower() for name in headers} - known)]


@schemathesis.check
def no_undocumented_header(
    _: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> bool | None:
    """Fail for a header that the reply's description lacks."""
    operation = case.operation
    # A method that the path does not have, tried by another check.
    if case.method.lower() != operation.method.lower():
        return None
    found = find_undocumented(
        operation.schema.raw_schema,
        operation.method,
        operation.path,
        response.status_code,
        response.headers,
    )
    assert not found, f"undocumented: {', '.join(found)}"
    return None
