"""The page asks for stems by a box, and offers them as downloads in the reader's language."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.browser.steps import assert_accessible, submit, wait_for_state
from tests.support.job_server import data_folder, job_server
from tests.support.onnx_stems import write_model

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    model = write_model(tmp_path_factory.mktemp("onnx") / "bands.onnx")
    with data_folder() as folder, job_server(folder, MUSICGEN_SEPARATION=model) as running:
        yield running.url


def test_stems_are_made_and_downloaded(
    address: str, visit: Callable[..., AbstractContextManager[Any]]
) -> None:
    with visit(address) as page:
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        page.locator("#f-stems").check()
        submit(page, seconds="1")
        wait_for_state(page, "completed")
        link = page.get_by_role("link", name="Download the stem drums of the clip")
        with page.expect_download() as waiting:
            link.click()
        assert Path(waiting.value.path()).read_bytes().startswith(b"RIFF")
        assert waiting.value.suggested_filename.endswith("-drums.wav")
        assert page.locator(".downloads a", has_text="vocals").count() == 1
        assert_accessible(page)
        page.evaluate("localStorage.setItem('musicgen-language', 'de')")
        page.reload()
        wait_for_state(page, "completed")
        german = page.get_by_role("link", name="Die Spur Schlagzeug herunterladen")
        assert german.inner_text() == "Schlagzeug"
