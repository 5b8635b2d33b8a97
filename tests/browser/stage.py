"""A page on one device in one language, used as a person does, with a record of what was used."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.browser.steps import AXE, FINDINGS

WALK = (Path(__file__).parent / "page_walk.js").read_text(encoding="utf-8")
WAIT_SECONDS = 12.0
UNREACHED = {
    "#length-slider",
    "#request input field.continuation.label|sound.continue",
    "#request input sound.follow",
}
"""No stops of Tab: the slider doubles a field, and one radio button stands for its group."""


@dataclass(frozen=True)
class Device:
    """Way of using the page: `name` is pointer, keyboard or phone; `context`: of the browser."""

    name: str
    context: Mapping[str, Any]


DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DEVICES = (Device("pointer", DESKTOP), Device("keyboard", DESKTOP), Device("phone", PHONE))


@dataclass
class Stage:
    """The page with its controls, by the names that `page_walk.js` gives them."""

    page: Any
    device: Device
    seen: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    strangers: set[str] = field(default_factory=set)
    findings: list[Any] = field(default_factory=list)

    def find(self, control: str) -> Any:
        """Return the element of a control once it is visible, and count it as used."""
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            found = self.page.evaluate_handle("name => pageWalk.find(name)", control).as_element()
            if found is not None:
                self.used.add(control)
                return found
            self.page.wait_for_timeout(50)
        raise AssertionError(f"{control} is not there, but {self.page.evaluate(LIST)}")

    def press(self, element: Any) -> None:
        """Use a button, a link, a box or a summary."""
        if self.device.name == "keyboard":
            element.focus()
            is_pressed = element.evaluate("it => it.matches('a, button, summary')")
            self.page.keyboard.press("Enter" if is_pressed else "Space")
        elif self.device.name == "phone":
            element.tap()
        else:
            element.click()

    def write(self, element: Any, text: str) -> None:
        """Replace the text of a field."""
        if self.device.name == "keyboard":
            element.focus()
        else:
            self.press(element)
        element.evaluate("it => it.select()")
        self.page.keyboard.type(text)

    def wait(self, proof: str, element: Any = None) -> None:
        """Wait until a function of the page, given the element, is true."""
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            if self.page.evaluate(f"async it => Boolean(await ({proof})(it))", element):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"still not so: {proof}")

    def note_controls(self) -> set[str]:
        """Count the visible controls as seen, and return them."""
        controls = set(self.page.evaluate(LIST))
        self.seen |= controls
        return controls

    def look(self) -> None:
        """Check the state on display: controls, texts, accessibility, and nothing out of sight."""
        controls = self.note_controls()
        self.strangers |= set(self.page.evaluate("pageWalk.strangers()"))
        width = self.page.evaluate("document.documentElement.scrollWidth")
        assert width <= self.device.context["viewport"]["width"], "wider than the screen"
        if self.device.name == "keyboard":
            missed = self.walk_by_tab(controls - UNREACHED)
            assert missed == set(), f"no stops of Tab: {missed}"
            return
        self.page.evaluate(AXE.read_text())
        self.findings += self.page.evaluate(FINDINGS)

    def walk_by_tab(self, controls: set[str]) -> set[str]:
        """Return those of the controls that can be used, but that Tab does not reach."""
        start = self.page.evaluate_handle("document.activeElement").as_element()
        stops = self.page.evaluate("pageWalk.listen()")
        # Lists may grow meanwhile; then a second round is needed to come back to the start.
        for _ in range(2):
            for _ in range(stops):
                self.page.keyboard.press("Tab")
            missed = set(self.page.evaluate("them => pageWalk.missed(them)", list(controls)))
            if not missed:
                break
        start.focus()
        return missed


LIST = "pageWalk.controls()"
