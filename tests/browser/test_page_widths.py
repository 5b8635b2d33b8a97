"""Long words of callers and narrow screens: nothing sticks out of its card."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from tests.browser.steps import wait_for_state

pytestmark = pytest.mark.browser

WORD = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 3
PROMPTS = {
    "completed": {"prompts": [f"{WORD} one", f"{WORD} two"], "negative_prompt": WORD},
    "cancelled": {"prompt": WORD, "duration": 300},
    "failed": {"prompt": WORD, "input_audio": f"http://127.0.0.1:9/{'x' * 300}.wav"},
}
# Parts of an element that scrolls or cuts its content may be wider.
STICKING_OUT = """() => [...document.querySelectorAll(".card *")].flatMap((each) => {
  const box = each.getBoundingClientRect();
  const card = each.closest(".card");
  if (!box.width || !each.checkVisibility()) return [];
  for (let one = each.parentElement; one !== card; one = one.parentElement) {
    if (getComputedStyle(one).overflowX !== "visible") return [];
  }
  const edge = card.getBoundingClientRect();
  const fits = box.left >= edge.left - 1 && box.right <= edge.right + 1;
  return fits ? [] : [`${each.tagName}.${each.className}: ${each.textContent.slice(0, 60)}`];
})"""


def _call(server: str, path: str, body: Any = None) -> Any:
    headers = {"Content-Type": "application/json"}
    data = json.dumps(body).encode() if body is not None else b""
    request = urllib.request.Request(server + path, data, headers, method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


@pytest.fixture(scope="module")
def ids(server: str) -> dict[str, str]:
    """Jobs with long words, by the state of their end."""
    made = {
        state: str(_call(server, "/v1/generate", {"duration": 1, **fields})["job_id"])
        for state, fields in PROMPTS.items()
    }
    _call(server, f"/v1/jobs/{made['cancelled']}/cancel")
    return made


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("width", [1280, 360, 320])
def test_nothing_sticks_out_of_its_card(
    page: Any, ids: dict[str, str], language: str, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.get_by_label("Language", exact=True).select_option(language)
    page.wait_for_selector(f"html[lang={language}] #studio:not([hidden])")
    for state, job_id in ids.items():
        page.evaluate("id => { location.hash = `job=${id}`; }", job_id)
        wait_for_state(page, state)
        page.wait_for_selector(f".past[href$='{job_id}'][aria-current]")
        page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        assert page.evaluate(STICKING_OUT) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
