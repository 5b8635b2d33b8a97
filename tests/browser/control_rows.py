"""Table of the page's controls: how each is used, and the proof that it did its work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.browser.stage import Stage
from tests.support.clips import wav

Act = Callable[[Stage, Any], None]
GOOD = {"name": "song.wav", "mimeType": "audio/wav", "buffer": wav(4.0)}
BAD = {"name": "song.wav", "mimeType": "audio/wav", "buffer": b"no sound at all" * 99}


@dataclass(frozen=True)
class Row:
    """Use of one control.

    `control`: its name. `act`: what is done with it. `proof`: a function of the page that is true
    afterwards; it gets the element. `devices`: those on which the control can be used. `look`:
    whether the state afterwards is looked at.
    """

    control: str
    act: Act
    proof: str
    devices: tuple[str, ...] = ("pointer", "keyboard", "phone")
    look: bool = False


def press(stage: Stage, element: Any) -> None:
    """Use a button, a link, a box or a summary."""
    stage.press(element)


def follow(stage: Stage, element: Any, path: str = "/") -> None:
    """Use a link that leaves the page, and come back."""
    with stage.page.expect_navigation(url=f"**{path}"):
        stage.press(element)
    stage.page.goto(stage.page.url.removesuffix(path) + "/")
    stage.page.wait_for_selector("#studio:not([hidden])")


def write(text: str) -> Act:
    """Return the act of writing a text in place of the one there."""
    return lambda stage, element: stage.write(element, text)


def choose_other(stage: Stage, element: Any) -> None:
    """Choose the last possible option of a list; with keys, move to it."""
    options = "it => [...it.options].filter((o) => !o.disabled).map((o) => o.value)"
    values = element.evaluate(options)
    if stage.device.name == "keyboard":
        element.focus()
        stage.page.keyboard.press("End")
    else:
        element.select_option(values[-1])


def switch_language(stage: Stage, element: Any) -> None:
    """Choose the other language, and then this one again."""
    own = stage.page.evaluate("document.documentElement.lang")
    other = {"en": "de", "de": "en"}[own]
    for name in (other, own):
        with stage.page.expect_navigation():
            if stage.device.name == "keyboard":
                element.focus()
                stage.page.keyboard.press("ArrowDown" if name == "de" else "ArrowUp")
            else:
                element.select_option(name)
        stage.page.wait_for_selector(f"html[lang={name}] #studio:not([hidden])")
        element = stage.page.query_selector("#language")


def change(stage: Stage, element: Any) -> None:
    """Give a field of the request another value, by the kind of its control."""
    kind = element.evaluate("it => it.type")
    if kind == "checkbox":
        stage.press(element)
    elif kind == "select-one":
        choose_other(stage, element)
    elif kind == "number":
        other = "it => [3, 4].map((n) => n + Math.max(0, it.min)).find((n) => n != it.defaultValue)"
        stage.write(element, str(element.evaluate(other)))
    else:
        stage.write(element, "https://example.org/hook" if kind == "url" else "calm harp")


def slide(stage: Stage, element: Any) -> None:
    """Move a slider: by a key, else by pressing it at two thirds."""
    if stage.device.name == "keyboard":
        element.focus()
        stage.page.keyboard.press("ArrowRight")
        return
    box = element.bounding_box()
    where = {"x": box["width"] * 2 / 3, "y": box["height"] / 2}
    element.tap(position=where) if stage.device.name == "phone" else element.click(position=where)


def drag(by: float) -> Act:
    """Return the act of dragging a handle by a part of its waveform, or a leap by a key."""

    def act(stage: Stage, element: Any) -> None:
        if stage.device.name == "keyboard":
            element.focus()
            stage.page.keyboard.press("PageUp" if by > 0 else "PageDown")
            return
        element.evaluate("it => it.scrollIntoView({block: 'center'})")
        box = element.bounding_box()
        width = element.evaluate("it => it.parentElement.getBoundingClientRect().width")
        start = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        end = (start[0] + by * width, start[1])
        if stage.device.name == "phone":
            touch(stage, start, end)
            return
        stage.page.mouse.move(*start)
        stage.page.mouse.down()
        stage.page.mouse.move(*end, steps=4)
        stage.page.mouse.up()

    return act


def touch(stage: Stage, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag a finger from one point to another."""
    session = stage.page.context.new_cdp_session(stage.page)
    points = [start, ((start[0] + end[0]) / 2, end[1]), end]
    kinds = ("touchStart", "touchMove", "touchMove")
    for kind, (x, y) in zip(kinds, points, strict=True):
        event = {"type": kind, "touchPoints": [{"x": x, "y": y}]}
        session.send("Input.dispatchTouchEvent", event)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    session.detach()


def play(stage: Stage, element: Any) -> None:
    """Start the browser's own player, whose button is at its left."""
    element.scroll_into_view_if_needed()
    box = element.bounding_box()
    where = {"x": 25, "y": box["height"] / 2}
    if stage.device.name == "keyboard":
        element.focus()
        stage.page.keyboard.press("Space")
    elif stage.device.name == "phone":
        element.tap(position=where)
    else:
        element.click(position=where)


def upload(file: dict[str, Any]) -> Act:
    """Return the act of choosing a file in the browser's dialog."""

    def act(stage: Stage, element: Any) -> None:
        with stage.page.expect_file_chooser() as waiting:
            stage.press(element)
        waiting.value.set_files(file)

    return act


def download(extension: str, least: int = 100) -> Act:
    """Return the act of downloading a file of this kind."""

    def act(stage: Stage, element: Any) -> None:
        with stage.page.expect_download() as waiting:
            stage.press(element)
        assert waiting.value.suggested_filename.endswith(f".{extension}")
        assert Path(waiting.value.path()).stat().st_size > least

    return act


def lose_uploads(stage: Stage, element: Any) -> None:
    """Choose a good file while the server does not take any."""
    stage.page.route("**/v1/uploads", lambda route: route.fulfill(status=503, body=""))
    upload(GOOD)(stage, element)
    stage.page.wait_for_selector("#refused-again:not([hidden])")
    stage.page.unroute("**/v1/uploads")


def record(stage: Stage, element: Any) -> None:
    """Record a second with the microphone."""
    stage.press(element)
    stage.wait("async () => (await pageWalk.says('#record')) === 'microphone.stop'")
    stage.look()
    stage.page.wait_for_timeout(700)
    stage.press(element)


def read_docs(stage: Stage, element: Any) -> None:
    """Open the API's documentation and come back."""
    partial(follow, path="/docs")(stage, element)
