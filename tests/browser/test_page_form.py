"""What the form of the web page keeps, foretells and shows as code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.browser.steps import MADE_MS, job_in_address, sign_in, submit, wait_for_state
from tests.support.clips import wav

pytestmark = pytest.mark.browser

MAGIC = {"wav": b"RIFF", "flac": b"fLaC", "mp3": b"", "ogg": b"OggS"}
ODD_PROMPT = """it's "odd": $HOME `id` \\n 100% ünï 🎵
END
'; DROP"""


def test_downloads_have_names_of_words(page: Any) -> None:
    prompt = "Slow, warm & dusty: piano with vinyl noise and a very distant trumpet"
    submit(page, prompt, "1", Seed="7")
    wait_for_state(page, "completed")
    for extension, magic in MAGIC.items():
        with page.expect_download() as waiting:
            page.get_by_role("link", name=f"Download the clip as {extension}").click()
        name = f"slow-warm-dusty-piano-with-vinyl-noise-and-a-7.{extension}"
        assert waiting.value.suggested_filename == name
        content = Path(waiting.value.path()).read_bytes()
        assert content.startswith(magic) and len(content) > 1000


def test_a_clip_answers_head_and_ranges(page: Any, server: str) -> None:
    submit(page, "calm piano", "1", Seed="7")
    wait_for_state(page, "completed")
    address = page.evaluate("document.querySelector('.clip audio').src")
    head = httpx.head(address)
    assert head.status_code == 200 and head.headers["accept-ranges"] == "bytes"
    assert 'filename="calm-piano-7.wav"' in head.headers["content-disposition"]
    part = httpx.get(address, headers={"Range": "bytes=4-11"})
    assert part.status_code == 206 and len(part.content) == 8
    assert part.content.endswith(b"WAVE")


def test_the_form_survives_a_reload(page: Any) -> None:
    page.get_by_label("What should it sound like?").fill("two harps")
    page.get_by_label("Length in seconds").fill("12.5")
    page.get_by_text("Finish", exact=True).click()
    page.get_by_label("Fade in, seconds").fill("3")
    page.get_by_label("Cut silence at both ends").check()
    page.get_by_text("Start from a sound", exact=True).click()
    page.get_by_label("A sound file").set_input_files(
        {"name": "song.wav", "mimeType": "audio/wav", "buffer": wav(1.0)}
    )
    page.locator("#upload-text", has_text="song.wav (1 s").wait_for(timeout=MADE_MS)
    page.get_by_label("Continue this clip").check()
    page.reload()
    page.wait_for_selector("#studio:not([hidden])")
    assert page.get_by_label("What should it sound like?").input_value() == "two harps"
    assert page.get_by_label("Length in seconds").input_value() == "12.5"
    assert page.get_by_label("Fade in, seconds").input_value() == "3"
    assert page.get_by_label("Cut silence at both ends").is_checked()
    assert page.get_by_label("Continue this clip").is_checked()
    assert page.locator("#upload-text").inner_text().startswith("song.wav (1\u00a0s")
    page.get_by_role("button", name="Make music").click()
    wait_for_state(page, "completed")
    assert page.locator(".clip", has_text="12.5 s").count() == 1


def test_signing_out_empties_the_form(visit: Any, guarded: tuple[str, str]) -> None:
    address, key = guarded
    with visit(address) as page:
        sign_in(page, key)
        page.get_by_label("What should it sound like?").fill("a secret song")
        page.reload()
        page.wait_for_selector("#studio:not([hidden])")
        assert page.get_by_label("What should it sound like?").input_value() == "a secret song"
        kept = page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}])")
        assert "a secret song" in kept and key not in kept
        page.get_by_role("button", name="Sign out").click()
        page.get_by_label("API key").wait_for()
        assert "secret" not in page.evaluate("JSON.stringify({...sessionStorage})")
        sign_in(page, key)
        assert page.get_by_label("What should it sound like?").input_value() == ""


def test_a_session_that_ends_is_told_and_the_form_kept(
    visit: Any, guarded: tuple[str, str]
) -> None:
    """The question for a key appeared in the middle of the work, without a word."""
    address, key = guarded
    with visit(address) as page:
        sign_in(page, key)
        assert page.locator("#sign-in-notice").is_hidden()
        page.context.clear_cookies()
        submit(page, "an unsent song", seconds="1")
        page.locator("#sign-in-notice", has_text="You are no longer signed in.").wait_for()
        sign_in(page, key)
        assert page.get_by_label("What should it sound like?").input_value() == "an unsent song"
        page.get_by_role("button", name="Make music").click()
        wait_for_state(page, "completed")


def test_the_time_is_told_before(page: Any) -> None:
    submit(page, seconds="1")
    wait_for_state(page, "completed")
    page.locator("#estimate", has_text="Ready in about").wait_for()
    page.get_by_label("Length in seconds").fill("500")
    page.locator("#estimate:empty").wait_for(state="attached")
    page.get_by_label("Length in seconds").fill("20")
    page.locator("#estimate", has_text="about").wait_for()


def test_no_time_is_told_that_was_never_measured(page: Any) -> None:
    """A guess stood there, ten times too long or too short."""

    def answer(route: Any) -> None:
        guess = {"work_seconds": 20, "audio_seconds": 8, "is_measured": False, "price": None}
        route.fulfill(json={"wait_seconds": 40.2, **guess})

    page.route("**/v1/estimate?*", answer)
    page.get_by_label("Variations").fill("2")
    unknown = "How long this takes is known once a clip like it has been made."
    text = f"Starts in about 41 s. {unknown}"
    page.locator("#estimate", has_text=text).wait_for()


def test_the_time_follows_the_queue(page: Any) -> None:
    """It still named the wait for a job that had ended."""
    submit(page, seconds="1")
    wait_for_state(page, "completed")
    submit(page, "a long one", "300")
    page.locator("#estimate", has_text="Starts in about").wait_for()
    page.get_by_role("button", name="Cancel").click()
    wait_for_state(page, "cancelled")
    page.locator("#estimate", has_text="Ready in about").wait_for()


def test_the_price_is_told_before(page: Any) -> None:
    def answer(route: Any) -> None:
        price = {"amount": 0.25, "currency": "EUR"}
        times = {"wait_seconds": 40.2, "work_seconds": 20, "audio_seconds": 8, "is_measured": True}
        route.fulfill(json={**times, "price": price})

    page.route("**/v1/estimate?*", answer)
    page.get_by_label("Variations").fill("2")
    text = "Starts in about 41 s, ready in about 1 min 01 s. Costs about €0.25."
    page.locator("#estimate", has_text=text).wait_for()


def read_code(page: Any, language: str) -> str:
    page.locator("#recipe").get_by_role("button", name=language, exact=True).click()
    return str(page.evaluate("document.querySelector('#recipe-code').textContent"))


@pytest.mark.parametrize(
    ("language", "command"),
    [
        ("curl", ["bash", "-c"]),
        ("Python", [sys.executable, "-c"]),
        ("JavaScript", ["node", "--input-type=module", "-e"]),
    ],
)
def test_the_code_makes_what_the_form_says(
    page: Any, server: str, tmp_path: Path, language: str, command: list[str]
) -> None:
    page.get_by_label("What should it sound like?").fill(ODD_PROMPT)
    page.get_by_label("Length in seconds").fill("1")
    page.get_by_label("Seed", exact=True).fill("7")
    page.get_by_label("Variations").fill("2")
    page.get_by_text("File", exact=True).click()
    page.locator("#f-output_format").select_option("flac")
    page.get_by_text("Show as code", exact=True).click()
    code = read_code(page, language)
    subprocess.run([*command, code], cwd=tmp_path, env=dict(os.environ), check=True, timeout=120)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    assert all(path.read_bytes().startswith(b"fLaC") for path in files)
    newest = httpx.get(f"{server}/v1/jobs?limit=1").json()["jobs"][0]
    assert newest["request"]["prompt"] == ODD_PROMPT
    assert newest["request"]["seed"] == 7
    assert newest["request"]["variations"] == 2


def test_the_code_of_a_refused_request_ends(page: Any, tmp_path: Path) -> None:
    page.get_by_label("What should it sound like?").fill("bells")
    page.get_by_label("Length in seconds").fill("500")
    page.get_by_text("Show as code", exact=True).click()
    for language, command in (("curl", ["bash", "-c"]), ("Python", [sys.executable, "-c"])):
        code = read_code(page, language)
        ended = subprocess.run([*command, code], cwd=tmp_path, capture_output=True, timeout=60)
        assert ended.returncode != 0 and ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_code_of_a_guarded_server_sends_the_key(
    visit: Any, guarded: tuple[str, str], tmp_path: Path
) -> None:
    address, key = guarded
    with visit(address) as page:
        sign_in(page, key)
        page.get_by_label("What should it sound like?").fill("bells")
        page.get_by_label("Length in seconds").fill("1")
        page.get_by_text("Show as code", exact=True).click()
        env = {**os.environ, "MUSICGEN_API_KEY": key}
        for language, command in (("curl", ["bash", "-c"]), ("Python", [sys.executable, "-c"])):
            code = read_code(page, language)
            assert key not in code
            subprocess.run([*command, code], cwd=tmp_path, env=env, check=True, timeout=120)
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == ["music-1.wav", "music.wav"]


def test_the_code_is_copied(page: Any) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_label("What should it sound like?").fill("bells")
    page.get_by_text("Show as code", exact=True).click()
    page.get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert '"prompt": "bells"' in copied


def test_a_job_is_followed_after_the_keyboard_sent_it(page: Any) -> None:
    page.get_by_label("What should it sound like?").fill("bells")
    page.get_by_label("Length in seconds").fill("1")
    page.keyboard.press("Control+Enter")
    wait_for_state(page, "completed")
    assert job_in_address(page)
