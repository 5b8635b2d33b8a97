"""The page of a server with AudioGen: its sound of 16 kHz is drawn, plays and is continued."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.browser.steps import submit, wait_for_state, wait_until_it_plays
from tests.support import audiogen
from tests.support.job_server import data_folder, job_server

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    model = audiogen.convert_toy(tmp_path_factory.mktemp("model"))
    model = model.rename(model.with_name("audiogen-medium"))
    with data_folder() as folder, job_server(folder, MUSICGEN_MODEL=model) as running:
        yield running.url


def test_a_sound_is_drawn_and_plays_and_is_continued(
    address: str, visit: Callable[..., AbstractContextManager[Any]]
) -> None:
    with visit(address) as page:
        submit(page, audiogen.PROMPT, seconds="3")
        wait_for_state(page, "completed")
        page.wait_for_selector(".stage.drawn")
        page.get_by_role("button", name="Play the clip").click()
        wait_until_it_plays(page)
        assert "CC-BY-NC-4.0" in page.locator("#job").inner_text()
        page.get_by_role("button", name="Continue this").click()
        page.wait_for_selector("#upload-preview:not([hidden])")
        page.get_by_role("button", name="Make music").click()
        page.wait_for_selector("#job .state[data-state=running], #job .state[data-state=queued]")
        wait_for_state(page, "completed")
