"""The web page in German, and the switch between the languages."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.steps import assert_accessible, wait_for_state

pytestmark = pytest.mark.browser


def test_the_language_is_switched_and_kept_with_the_form(page: Any) -> None:
    assert page.evaluate("document.documentElement.lang") == "en"
    page.get_by_label("What should it sound like?").fill("bells")
    page.get_by_label("Language", exact=True).select_option("de")
    page.get_by_label("Wie soll es klingen?").wait_for()
    assert page.evaluate("document.documentElement.lang") == "de"
    assert page.get_by_label("Wie soll es klingen?").input_value() == "bells"
    page.reload()
    page.get_by_label("Wie soll es klingen?").wait_for()
    page.get_by_label("Sprache", exact=True).select_option("en")
    page.get_by_label("What should it sound like?").wait_for()


def test_the_language_of_the_browser_comes_first(server: str, browser: Any) -> None:
    context = browser.new_context(locale="de-AT")
    page = context.new_page()
    page.goto(server)
    page.get_by_label("Wie soll es klingen?").wait_for()
    context.close()


@pytest.mark.parametrize("width", [1280, 360])
def test_a_clip_is_made_in_german(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(reduced_motion="reduce")
    page.get_by_label("Language", exact=True).select_option("de")
    page.get_by_label("Länge in Sekunden").fill("500")
    page.get_by_label("Wie soll es klingen?").fill("calm piano")
    page.get_by_role("button", name="Musik machen").click()
    page.locator("#f-duration-error", has_text="Wähle eine Länge von 0,1 bis 300").wait_for()
    page.get_by_label("Länge in Sekunden").fill("1.5")
    page.get_by_label("Varianten").fill("2")
    page.locator("#estimate", has_text="Fertig in etwa").wait_for()
    page.get_by_role("button", name="Musik machen").click()
    wait_for_state(page, "completed")
    page.wait_for_selector(".stage.drawn")
    page.locator(".clip", has_text="1,5 s · Seed").first.wait_for()
    page.locator(".past", has_text="2 Clips, gerade eben").first.wait_for()
    page.get_by_role("button", name="Clip 2 abspielen").wait_for()
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true })")
    page.get_by_label("Weitere Beschreibungen, eine je Zeile").wait_for()
    assert_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
