"""The page offers the notes of a clip, in the reader's language, where the server can make them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from musicgen.midi.packages import find_missing
from tests.browser.steps import assert_accessible, submit, wait_for_state

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_missing() is not None, reason="basic-pitch's model is not installed"),
]


def test_the_notes_of_a_clip_download_as_midi(page: Any) -> None:
    submit(page, seconds="2")
    wait_for_state(page, "completed")
    link = page.get_by_role("link", name="Download the notes of the clip as MIDI")
    with page.expect_download() as waiting:
        link.click()
    assert Path(waiting.value.path()).read_bytes().startswith(b"MThd")
    assert waiting.value.suggested_filename.endswith(".mid")
    assert link.get_attribute("title") == "The notes of this clip as MIDI"
    assert_accessible(page)
    page.evaluate("localStorage.setItem('musicgen-language', 'de')")
    page.reload()
    wait_for_state(page, "completed")
    german = page.get_by_role("link", name="Die Noten als MIDI herunterladen")
    assert german.get_attribute("title") == "Die Noten dieses Clips als MIDI"
