"""The API reference at /docs, from this server alone and under its content security policy."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.browser


def test_the_reference_is_shown_without_other_servers(
    server: str, visit: Callable[[str], AbstractContextManager[Any]]
) -> None:
    policy = httpx.get(f"{server}/docs").headers["content-security-policy"]
    assert "default-src 'self'" in policy and "unsafe" not in policy
    document = httpx.get(f"{server}/openapi.json").json()
    operations = [
        (method, path)
        for path, methods in {**document["paths"], **document["webhooks"]}.items()
        for method in methods
    ]
    with visit(server) as page:
        page.goto(f"{server}/docs")
        page.wait_for_selector(".opblock")
        assert page.locator(".opblock").count() == len(operations)
        assert page.locator("h1, h2").first.inner_text().startswith("MusicGen job API")
        page.locator(".opblock-summary", has_text="/v1/models").first.click()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_role("button", name="Execute").click()
        answer = page.locator(".live-responses-table .microlight, .live-responses-table code").first
        answer.wait_for()
        assert re.search(r'"default":\s*"demo"', page.locator(".live-responses-table").inner_text())


def test_nothing_else_shows_scripts_of_other_servers(server: str) -> None:
    assert httpx.get(f"{server}/redoc").status_code == 404
    assert "http" not in httpx.get(f"{server}/docs").text.replace("http-equiv", "")
