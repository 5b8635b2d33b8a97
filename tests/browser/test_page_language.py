"""The web page in German, and the switch between the languages."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.browser.steps import assert_accessible, submit, wait_for_state

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


SPLIT = r"""() => {
  const units = "s|min|h|kB|MB|GB|k?Hz|kbit/s|LUFS|dB\\w*|seconds|Sekunden|bits?|Bit";
  const split = new RegExp(`[^\\n]{0,30}\\d (?:${units})(?![\\p{L}\\d])|\\d(?:h|min) \\d`, "gu");
  const seen = [document.title, document.body.innerText];
  for (const each of document.querySelectorAll("[aria-label], [aria-valuetext], [title]")) {
    seen.push(...["aria-label", "aria-valuetext", "title"].map((name) => each.getAttribute(name)));
  }
  return seen.flatMap((text) => text?.match(split) ?? []);
}"""


@pytest.mark.parametrize("language", ["en", "de"])
def test_no_line_breaks_between_a_number_and_its_unit(page: Any, language: str) -> None:
    submit(page, seconds="1")
    wait_for_state(page, "completed")
    page.get_by_label("Language", exact=True).select_option(language)
    page.wait_for_selector("#studio:not([hidden])")
    page.wait_for_selector("#job .state[data-state=completed]")
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true })")
    page.locator("#estimate:not(:empty)").wait_for()
    # All texts with values, also those not on display.
    page.evaluate(r"""async () => {
      const { say, rawText } = await import("/static/js/language.js");
      const { duration, bytes } = await import("/static/js/words.js");
      const tables = ["en", "server_en"].map((name) => import(`/static/js/texts/${name}.js`));
      const keys = (await Promise.all(tables)).flatMap((table) => Object.keys(table.default));
      const names = (key) => [...rawText(key).matchAll(/\{(\w+)\}/g)].map(([, name]) => [name, 7]);
      const texts = keys.map((key) => say(key, Object.fromEntries(names(key))));
      texts.push(duration(3.5), duration(65), duration(59.97), bytes(5000), bytes(5e6));
      document.body.append(Object.assign(document.createElement("pre"), {
        textContent: texts.join("\n"),
      }));
    }""")
    text = page.inner_text("body")
    assert "3.5\u00a0s\n1\u00a0min\u00a005\u00a0s\n1\u00a0min\u00a000\u00a0s" in text.replace(
        ",", "."
    )
    assert page.evaluate(SPLIT) == []


AMOUNTS = {
    "percent(0)": ("0%", "0\u00a0%"),
    "percent(0.07)": ("7%", "7\u00a0%"),
    "percent(0.29)": ("29%", "29\u00a0%"),
    "duration(0.4)": ("0.4\u00a0s", "0,4\u00a0s"),
    "duration(125)": ("2\u00a0min\u00a005\u00a0s", "2\u00a0min\u00a005\u00a0s"),
    "duration(3599)": ("59\u00a0min\u00a059\u00a0s", "59\u00a0min\u00a059\u00a0s"),
    "duration(3900)": ("1\u00a0h\u00a005\u00a0min", "1\u00a0h\u00a005\u00a0min"),
    "duration(86400)": ("24\u00a0h\u00a000\u00a0min", "24\u00a0h\u00a000\u00a0min"),
    "bytes(999_400)": ("999\u00a0kB", "999\u00a0kB"),
    "bytes(999_600)": ("1.0\u00a0MB", "1,0\u00a0MB"),
    "bytes(2_500_000)": ("2.5\u00a0MB", "2,5\u00a0MB"),
}
"""By how the page writes it: in English and in German."""


@pytest.mark.parametrize("language", ["en", "de"])
def test_amounts_are_as_the_language_writes_them(page: Any, language: str) -> None:
    page.get_by_label("Language", exact=True).select_option(language)
    page.wait_for_selector(f"html[lang={language}] #studio:not([hidden])")
    written = page.evaluate(
        """async (calls) => {
          const { bytes, duration, percent } = await import("/static/js/words.js");
          const read = { bytes, duration, percent };
          return calls.map((call) => {
            const [name, value] = call.split("(");
            return read[name](Number(value.replace(/[_)]/g, "")));
          });
        }""",
        list(AMOUNTS),
    )
    assert written == [texts[language == "de"] for texts in AMOUNTS.values()]


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
    page.locator("#estimate", has_text=re.compile("Fertig in etwa|Wie lange das dauert")).wait_for()
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
