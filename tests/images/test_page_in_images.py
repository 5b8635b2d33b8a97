"""The web page of the composition, in a browser outside the containers' network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from infra.images.composition import Composition
from tests.browser.steps import MADE_MS, submit, wait_for_state, wait_until_it_plays

pytestmark = pytest.mark.browser


@pytest.fixture
def page(
    up: Composition, key: str, visit: Callable[[str], AbstractContextManager[Any]]
) -> Iterator[Any]:
    """The opened page. Requests to another origin, such as the bucket's, fail the test."""
    up.wait_until_healthy()
    with visit(up.api) as page:
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_selector("#studio:not([hidden])")
        yield page


def test_a_clip_in_the_bucket_plays_is_drawn_and_downloads(page: Any) -> None:
    submit(page, Seed="7")
    wait_for_state(page, "completed")
    page.wait_for_selector(".stage.drawn")
    page.get_by_role("button", name="Play the clip").click()
    wait_until_it_plays(page)
    for extension, magic in (("wav", b"RIFF"), ("flac", b"fLaC"), ("mp3", b"")):
        with page.expect_download() as waiting:
            page.get_by_role("link", name=f"Download the clip as {extension}").click()
        saved = Path(waiting.value.path()).read_bytes()
        assert saved.startswith(magic) and len(saved) > 1000


def test_a_clip_in_the_bucket_is_continued(page: Any) -> None:
    submit(page, "calm piano")
    wait_for_state(page, "completed")
    page.get_by_role("button", name="Continue this").click()
    page.wait_for_selector("#upload-preview:not([hidden])", timeout=MADE_MS)
    page.get_by_role("button", name="Make music").click()
    page.wait_for_selector("#job-title:text-is('calm piano')")
    page.locator(".clip", has_text="4 s").wait_for(timeout=MADE_MS)
