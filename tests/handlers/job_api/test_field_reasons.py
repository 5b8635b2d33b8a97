"""Fields that FastAPI refuses have reasons too, so a page in German shows no English."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.job_server import JobServer, data_folder, job_server


@pytest.fixture(scope="module")
def api() -> Iterator[JobServer]:
    with data_folder() as folder, job_server(folder, "api") as server:
        yield server


@pytest.mark.parametrize(
    ("path", "query", "message", "reason", "values"),
    [
        ("/v1/jobs", {"limit": 0}, "limit must be a number of at least 1.", "number_from",
         {"low": 1, "rest": ""}),
        ("/v1/jobs", {"limit": 101}, "limit must be a number of at most 100.", "number_to",
         {"high": 100}),
        ("/v1/jobs", {"limit": "x"}, "limit: Input should be a valid integer", "wrong_kind", {}),
        ("/v1/jobs", {"search": "x" * 5000}, "search must have at most", "text_too_long", None),
        ("/v1/jobs/zip", {"id": ["x"] * 5000}, "id must have at most", "too_many_entries", None),
        ("/v1/jobs/zip", {}, "id is missing.", "missing", {}),
        ("/v1/estimate", {"decoder": "x"}, "decoder must be one of", "choice", None),
    ],
)  # fmt: skip
def test_a_refused_field_has_a_reason(
    api: JobServer,
    path: str,
    query: dict[str, Any],
    message: str,
    reason: str,
    values: dict[str, Any] | None,
) -> None:
    answer = api.http.get(path, params=query)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "invalid_request")
    assert error["message"].startswith(message)
    assert error["reason"] == reason and (values is None or error["values"] == values)
