"""What a newcomer reads first when a server starts."""

from __future__ import annotations

import pytest

from musicgen.net.listen import describe_address
from tests.support.job_server import JobServer


def test_the_address_comes_first_and_nothing_of_the_inside(server: JobServer) -> None:
    first, second, *_ = server.log.splitlines()
    page = server.url
    assert first == f"Web page: {page}  API documentation: {page}/docs"
    assert second == f"Data folder: {server.folder}, with an embedded PostgreSQL."
    for inside in ("migration", "server process", "application startup", "procrastinate"):
        assert inside not in server.log


@pytest.mark.parametrize(
    ("host", "page"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
        ("0.0.0.0", "http://localhost:8000"),
        ("::", "http://localhost:8000"),
        ("", "http://localhost:8000"),
    ],
)
def test_the_address_opens_in_a_browser(host: str, page: str) -> None:
    line = describe_address(host, 8000)
    assert line.startswith(f"Web page: {page}  API documentation: {page}/docs")
    assert ("all addresses" in line) == ("localhost" in page)
