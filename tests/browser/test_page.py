"""What a person does with the web page of the job API, done by a browser to a real server."""

from __future__ import annotations

import urllib.request
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from musicgen.request import GenerationRequest
from tests.browser.steps import (
    MADE_MS,
    assert_accessible,
    job_in_address,
    press_tab_until,
    sign_in,
    submit,
    wait_for_state,
    wait_until_it_plays,
)

pytestmark = pytest.mark.browser

CONTROLS = """() => Object.fromEntries(
  [...document.querySelectorAll("#request [id^=f-]")].map((control) => [
    control.id.slice(2),
    control.type === "checkbox" ? control.checked
      : control.querySelector("[type=radio]") ? control.querySelector(":checked").value === "true"
      : control.value,
  ]))"""


def test_a_sentence_becomes_a_clip_that_plays_and_downloads(page: Any, server: str) -> None:
    submit(page, Seed="7")
    page.wait_for_selector("#job progress")
    wait_for_state(page, "completed")
    page.wait_for_selector(".stage.drawn")
    page.get_by_role("button", name="Play the clip").click()
    wait_until_it_plays(page)
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download the clip as wav").click()
    saved = Path(waiting.value.path()).read_bytes()
    with urllib.request.urlopen(f"{server}/audio/{job_in_address(page)}.wav") as answer:
        assert saved == answer.read()


def test_each_other_format_downloads(page: Any) -> None:
    submit(page, seconds="1")
    wait_for_state(page, "completed")
    for extension, magic in (("flac", b"fLaC"), ("ogg", b"OggS")):
        with page.expect_download() as waiting:
            page.get_by_role("link", name=f"Download the clip as {extension}").click()
        assert Path(waiting.value.path()).read_bytes().startswith(magic)


def test_a_long_job_is_cancelled_while_it_runs(page: Any) -> None:
    submit(page, seconds="120")
    wait_for_state(page, "running")
    page.get_by_role("button", name="Cancel").click()
    wait_for_state(page, "cancelled")
    assert page.get_by_role("button", name="Cancel").count() == 0


def test_a_job_can_be_heard_while_it_is_made(page: Any) -> None:
    submit(page, seconds="120")
    page.get_by_label("Listen while it is made").wait_for(timeout=MADE_MS)
    page.evaluate("document.querySelector('.live audio').play()")
    wait_until_it_plays(page, ".live audio")
    page.get_by_role("button", name="Cancel").click()
    wait_for_state(page, "cancelled")


def test_a_reload_keeps_the_job(page: Any) -> None:
    submit(page, "calm piano")
    wait_for_state(page, "completed")
    seed = page.locator(".clip .seed").inner_text()
    page.reload()
    wait_for_state(page, "completed")
    assert page.locator(".clip .seed").inner_text() == seed
    assert page.locator("#job-title").inner_text() == "calm piano"


def test_the_history_opens_another_job(page: Any) -> None:
    for prompt in ("first of two", "second of two"):
        submit(page, prompt, "1")
        page.wait_for_selector(f"#job-title:text-is('{prompt}')")
        wait_for_state(page, "completed")
    page.locator("a.past", has_text="first of two").click()
    page.wait_for_selector("#job-title:text-is('first of two')")
    page.go_back()
    page.wait_for_selector("#job-title:text-is('second of two')")


def test_more_like_this_and_the_seed_fill_the_form(page: Any) -> None:
    page.get_by_text("Sampling", exact=True).click()
    page.get_by_label("Temperature").fill("0.9")
    submit(page, "calm piano", "1.5", Variations="2")
    wait_for_state(page, "completed")
    page.reload()
    page.get_by_role("button", name="More like this: clip 1").click()
    assert page.get_by_label("What should it sound like?").input_value() == "calm piano"
    assert page.get_by_label("Length in seconds").input_value() == "1.5"
    assert page.get_by_label("Temperature").input_value() == "0.9"
    assert page.get_by_label("Variations").input_value() == "2"
    page.get_by_role("button", name="Use this seed: clip 2").click()
    seed = page.locator(".clip .seed").nth(1).inner_text()
    assert page.get_by_label("Seed", exact=True).input_value() == seed


def test_a_clip_is_continued(page: Any) -> None:
    submit(page, "calm piano")
    wait_for_state(page, "completed")
    page.get_by_role("button", name="Continue this").click()
    page.wait_for_selector("#upload-preview:not([hidden])", timeout=MADE_MS)
    assert page.get_by_label("Continue this clip").is_checked()
    page.get_by_role("button", name="Make music").click()
    page.wait_for_selector("#job-title:text-is('calm piano')")
    page.locator(".clip", has_text="4 s").wait_for(timeout=MADE_MS)


def test_sections_make_the_length(page: Any) -> None:
    page.get_by_text("More prompts and sections", exact=True).click()
    for prompt, seconds in (("soft piano", "1"), ("fast bells", "1.5")):
        page.get_by_role("button", name="Add a section").click()
        page.get_by_label("What it sounds like").last.fill(prompt)
        page.get_by_label("Seconds", exact=True).last.fill(seconds)
    assert page.get_by_label("Length in seconds").is_disabled()
    page.get_by_label("What should it sound like?").fill("calm")
    page.get_by_role("button", name="Make music").click()
    page.locator(".clip", has_text="2.5 s").wait_for(timeout=MADE_MS)


def test_the_keyboard_alone_makes_and_plays_a_clip(page: Any) -> None:
    press_tab_until(page, "node => node.id === 'f-prompt'")
    page.keyboard.type("calm piano")
    press_tab_until(page, "node => node.id === 'f-duration'")
    page.keyboard.type("2")
    press_tab_until(page, "node => node.id === 'submit'")
    page.keyboard.press("Enter")
    wait_for_state(page, "completed")
    press_tab_until(page, "node => node.classList.contains('play')")
    page.keyboard.press("Space")
    wait_until_it_plays(page)
    press_tab_until(page, "node => node.getAttribute('role') === 'slider'")
    page.keyboard.press("Home")
    page.keyboard.press("End")
    page.wait_for_selector("[role=slider][aria-valuenow='2.0']")


def test_the_theme_is_remembered(page: Any) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.get_by_label("Dark theme").click()
    dark = page.evaluate(paper)
    assert dark != light
    page.reload()
    assert page.evaluate(paper) == dark


def test_a_key_opens_the_studio_and_signing_out_closes_it(
    visit: Any, guarded: tuple[str, str]
) -> None:
    address, key = guarded
    with visit(address) as page:
        page.get_by_label("API key").fill("mg_wrong_key")
        assert_accessible(page)
        page.get_by_role("button", name="Sign in").click()
        page.locator("#sign-in-notice:not([hidden])").wait_for()
        sign_in(page, key)
        submit(page)
        wait_for_state(page, "completed")
        page.get_by_role("button", name="Play the clip").click()
        wait_until_it_plays(page)
        page.reload()
        wait_for_state(page, "completed")
        page.get_by_role("button", name="Sign out").click()
        page.get_by_label("API key").wait_for()
        page.reload()
        page.get_by_label("API key").wait_for()


def test_the_form_has_each_field_of_a_request_with_its_default(page: Any) -> None:
    """Guards against a field that is added to the request and forgotten here."""
    shown = page.evaluate(CONTROLS)
    expected = {field.name: field.default for field in fields(GenerationRequest)}
    assert set(expected) <= set(shown)
    for name, default in expected.items():
        value = shown[name]
        if default in (None, "") or name == "continuation_end":
            assert value in ("", None) or name == "model_version", name
        elif isinstance(default, (bool, str)):
            assert value == default, name
        else:
            assert float(value) == default, name


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_serious_is_found_by_axe(page: Any, theme: str, width: int) -> None:
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 800})
    assert_accessible(page)
    submit(page, "calm piano", "500")
    page.wait_for_selector("#f-duration-error")
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true })")
    page.get_by_role("button", name="Add a section").click()
    assert_accessible(page)
    page.get_by_role("button", name="Remove this section").click()
    submit(page, "calm piano", "2", Variations="2")
    wait_for_state(page, "completed")
    page.wait_for_selector(".stage.drawn")
    assert_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
