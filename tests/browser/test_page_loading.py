"""The page before its scripts are there, and where they do not come."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.steps import MADE_MS, job_in_address, sign_in, submit, wait_for_state

pytestmark = pytest.mark.browser
POLL_MS = 5000
"""Time between two looks of the page at its list."""


@pytest.fixture
def blank(browser: Any) -> Iterator[Any]:
    """A page that has opened nothing yet."""
    context = browser.new_context(locale="en")
    yield context.new_page()
    context.close()


def test_the_page_says_that_it_loads(blank: Any, server: str) -> None:
    held: list[Any] = []
    blank.route("**/session", lambda route: held.append(route))
    with blank.expect_request("**/session"):
        blank.goto(server, wait_until="commit")
    blank.locator("#loading", has_text="Loading").wait_for()
    assert not blank.locator("#studio").is_visible()
    held[0].continue_()
    blank.wait_for_selector("#studio:not([hidden])")
    assert not blank.locator("#loading").is_visible()


def test_a_server_that_is_away_is_told_in_its_place(blank: Any, server: str) -> None:
    blank.route("**/session", lambda route: route.fulfill(status=503, body=""))
    blank.goto(server)
    blank.wait_for_selector("#page-notice:not([hidden])")
    assert not blank.locator("#loading").is_visible()


def test_a_module_that_does_not_come_is_told(blank: Any, server: str) -> None:
    """The page stayed blank below its header."""
    blank.route("**/js/words.js", lambda route: route.abort())
    blank.goto(server)
    blank.locator("#loading", has_text="did not load completely").wait_for()


def test_a_page_whose_session_ended_asks_for_no_list(visit: Any, guarded: tuple[str, str]) -> None:
    """With an unfinished job it asked every 5 seconds, and was refused."""
    address, key = guarded
    with visit(address) as page:
        sign_in(page, key)
        submit(page, seconds="300")
        wait_for_state(page, "running")
        job_id = job_in_address(page)
        page.evaluate("location.hash = ''")
        with page.expect_request("**/v1/jobs?*", timeout=POLL_MS + MADE_MS):
            pass
        page.context.clear_cookies()
        page.get_by_role("button", name="Make music").click()
        page.get_by_label("API key").wait_for()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.wait_for_timeout(POLL_MS + 1000)
        assert asked == []
        headers = {"Authorization": f"Bearer {key}"}
        call = urllib.request.Request(f"{address}/v1/jobs/{job_id}", None, headers, method="DELETE")
        urllib.request.urlopen(call, timeout=30).close()
