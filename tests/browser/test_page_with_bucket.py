"""The web page of a server whose clips are in a bucket of another origin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.browser.bucket_studio import open_bucket, serve_with_bucket
from tests.browser.steps import submit, wait_for_state, wait_until_it_plays
from tests.support.seaweedfs import SeaweedFS

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def bucket(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    yield from open_bucket(tmp_path_factory.mktemp("weed"))


@pytest.fixture(scope="module", params=["proxy", "redirect"])
def studio(
    request: pytest.FixtureRequest,
    bucket: SeaweedFS,
    environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, tuple[str, ...]]]:
    folder = tmp_path_factory.mktemp("server")
    yield from serve_with_bucket(bucket, request.param, environment, folder)


@pytest.fixture
def page(
    studio: tuple[str, tuple[str, ...]], visit: Callable[..., AbstractContextManager[Any]]
) -> Iterator[Any]:
    address, others = studio
    with visit(address, *others) as page:
        page.wait_for_selector("#studio:not([hidden])")
        yield page


def test_a_clip_plays_and_downloads_and_is_continued(page: Any) -> None:
    """The content security policy refused the bucket's origin, and downloads left the page."""
    submit(page, "calm piano", Seed="7")
    wait_for_state(page, "completed")
    page.wait_for_selector(".stage.drawn")
    page.get_by_role("button", name="Play the clip").click()
    wait_until_it_plays(page)
    for extension, magic in (("wav", b"RIFF"), ("flac", b"fLaC"), ("mp3", b""), ("ogg", b"OggS")):
        with page.expect_download() as waiting:
            page.get_by_role("link", name=f"Download the clip as {extension}").click()
        assert waiting.value.suggested_filename == f"calm-piano-7.{extension}"
        assert Path(waiting.value.path()).read_bytes().startswith(magic)
    page.get_by_role("button", name="Continue this").click()
    page.wait_for_selector("#upload-preview:not([hidden])")
    page.get_by_role("button", name="Make music").click()
    page.wait_for_selector("#job .state[data-state=running], #job .state[data-state=queued]")
    wait_for_state(page, "completed")
