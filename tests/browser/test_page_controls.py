"""Styles, keys and comparison on the web page."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.browser.steps import (
    assert_accessible,
    job_in_address,
    submit,
    wait_for_state,
    wait_until_it_plays,
)

pytestmark = pytest.mark.browser


def test_a_style_sets_prompt_and_options(page: Any) -> None:
    page.get_by_role("button", name="Lofi loop", exact=True).click()
    assert "Lofi" in page.get_by_label("What should it sound like?").input_value()
    assert page.locator("#f-loop").is_checked()
    assert page.locator("#f-bpm").input_value() == "85"
    page.get_by_role("button", name="Piano", exact=True).click()
    assert not page.locator("#f-loop").is_checked()
    assert page.locator("#f-bpm").input_value() == ""
    assert page.get_by_label("Length in seconds").input_value() == "8"


@pytest.mark.parametrize("number", range(7))
def test_each_style_is_a_valid_request(page: Any, server: str, number: int) -> None:
    page.locator("#presets button").nth(number).click()
    page.get_by_role("button", name="Make music").click()
    page.wait_for_selector("#job .state[data-state=running], #job .state[data-state=completed]")
    httpx.post(f"{server}/v1/jobs/{job_in_address(page)}/cancel").raise_for_status()


def test_keys_are_listed_and_can_be_turned_off(page: Any) -> None:
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    dialog.wait_for()
    assert_accessible(page)
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    page.keyboard.press("p")
    assert page.evaluate("document.activeElement.id") == "f-prompt"
    page.keyboard.type("p?1")
    assert page.get_by_label("What should it sound like?").input_value() == "p?1"
    page.get_by_role("button", name="Keyboard shortcuts").click()
    dialog.get_by_label("Single letters and digits work as shortcuts").uncheck()
    dialog.get_by_role("button", name="Close").click()
    page.reload()
    page.wait_for_selector("#studio:not([hidden])")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("p")
    assert page.evaluate("document.activeElement.id") != "f-prompt"


def test_clips_are_compared_at_the_same_position(page: Any) -> None:
    submit(page, "calm piano", "6", Variations="2")
    wait_for_state(page, "completed")
    page.wait_for_selector(".stage.drawn")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("1")
    wait_until_it_plays(page)
    page.keyboard.press("2")
    page.wait_for_selector(".compare [aria-pressed=true]:text-is('2')")
    read = "[...document.querySelectorAll('.player audio')].map((a) => [a.paused, a.currentTime])"
    (paused, left), (other_paused, time) = page.evaluate(read)
    assert paused and not other_paused
    assert time >= left - 0.05
    assert time - left < 2
    page.get_by_role("button", name="Hear clip 1 from the same position").click()
    page.wait_for_selector(".compare [aria-pressed=true]:text-is('1')")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("k")
    page.wait_for_selector(".compare:not(:has([aria-pressed=true]))")
    with page.expect_download() as waiting:
        page.keyboard.press("d")
    assert waiting.value.suggested_filename.startswith("calm-piano-")


def test_a_model_that_cannot_be_had_is_not_choosable(page: Any) -> None:
    def hide(route: Any) -> None:
        answer = route.fetch()
        models = answer.json()
        for model in models["data"]:
            model["available"] = model["id"] in ("demo", "melody")
        route.fulfill(response=answer, json=models)

    page.route("**/v1/models", hide)
    page.reload()
    page.wait_for_selector("#studio:not([hidden])")
    option = page.locator("#f-model_version option")
    assert "not available here" in option.filter(has_text="large (").first.inner_text()
    able = "[...document.querySelectorAll('#f-model_version option:enabled')].map((o) => o.value)"
    assert page.evaluate(able) == ["demo", "melody"]
    page.get_by_label("Model").select_option("melody")
    assert "CC-BY-NC-4.0" in option.filter(has_text="melody (").first.inner_text()
    page.get_by_text("Licence CC-BY-NC-4.0: not for commercial use.").wait_for()
