"""What the tests of the web page do again and again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

MADE_MS = 120_000
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
SERIOUS = ("serious", "critical")
FINDINGS = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations
  .map(({id, impact, nodes}) => ({id, impact, where: nodes.map((node) => node.html)}))"""


def sign_in(page: Any, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_selector("#studio:not([hidden])")


def submit(page: Any, prompt: str = "fast high bells", seconds: str = "2", **fields: str) -> None:
    page.get_by_label("What should it sound like?").fill(prompt)
    page.get_by_label("Length in seconds").fill(seconds)
    for label, value in fields.items():
        page.get_by_label(label).fill(value)
    page.get_by_role("button", name="Make music").click()


def wait_for_state(page: Any, name: str) -> None:
    page.wait_for_selector(f"#job .state[data-state={name}]", timeout=MADE_MS)


def job_in_address(page: Any) -> str:
    found = re.search(r"#job=(.+)$", page.url)
    assert found is not None
    return found[1]


def wait_until_it_plays(page: Any, selector: str = ".player audio") -> None:
    """Not by `wait_for_function`: the page's policy forbids what that evaluates."""
    for _ in range(600):
        if page.evaluate(f"document.querySelector('{selector}').currentTime") > 0.3:
            return
        page.wait_for_timeout(100)
    raise AssertionError("it does not play")


def assert_accessible(page: Any) -> None:
    page.evaluate(AXE.read_text())
    found = [each for each in page.evaluate(FINDINGS) if each["impact"] in SERIOUS]
    assert found == []


def press_tab_until(page: Any, is_reached: str, most: int = 60) -> None:
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate(f"(({is_reached}))(document.activeElement)"):
            return
    raise AssertionError(f"not reached by {most} tabs: {is_reached}")
