"""The history of the page: searched, named, kept, downloaded and deleted by a person."""

from __future__ import annotations

import json
import os
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.steps import assert_accessible, press_tab_until

pytestmark = pytest.mark.browser
SHOTS = os.environ.get("MUSICGEN_TEST_SCREENSHOTS")


def _call(server: str, method: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(server + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def _make(server: str, *prompts: str) -> list[str]:
    """Ids of completed jobs, the oldest first."""
    ids = []
    for prompt in prompts:
        body = {"prompt": prompt, "duration": 0.2, "seed": 1}
        ids.append(_call(server, "POST", "/v1/generate", body)["job_id"])
    end = time.monotonic() + 120
    while any(_call(server, "GET", f"/v1/status/{each}")["status"] != "completed" for each in ids):
        assert time.monotonic() < end
        time.sleep(0.1)
    return ids


def _titles(page: Any) -> list[str]:
    return list(page.locator(".past-title").all_inner_texts())


def _wait_for_titles(page: Any, *titles: str) -> None:
    for _ in range(200):
        if _titles(page) == list(titles):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{_titles(page)} instead of {titles}")


def _shoot(page: Any, name: str) -> None:
    if SHOTS:
        page.screenshot(path=str(Path(SHOTS) / f"{name}.png"), full_page=True)


@pytest.fixture
def three(server: str) -> list[str]:
    """Ids of the only jobs of the server."""
    _call(server, "DELETE", "/v1/jobs?confirm=everything")
    return _make(server, "calm piano", "fast bells", "slow piano")


@pytest.fixture
def page(three: list[str], server: str, visit: Any) -> Iterator[Any]:
    with visit(server) as page:
        page.wait_for_selector(".past-row")
        yield page


def test_the_search_finds_words_and_says_how_many(page: Any) -> None:
    search = page.get_by_role("searchbox", name="Search the history")
    search.fill("pian")
    _wait_for_titles(page, "slow piano", "calm piano")
    assert page.locator("#announcer").inner_text() == "2 found"
    search.fill("trumpet")
    page.get_by_text("Nothing found.").first.wait_for()
    search.fill("")
    _wait_for_titles(page, "slow piano", "fast bells", "calm piano")


def test_a_favourite_is_kept_and_filtered(page: Any, server: str, three: list[str]) -> None:
    star = page.get_by_role("button", name="Favourite: fast bells")
    assert star.get_attribute("aria-pressed") == "false"
    star.click()
    page.wait_for_selector(".star[aria-pressed=true]")
    assert _call(server, "GET", f"/v1/status/{three[1]}")["favourite"] is True
    page.get_by_label("Favourites only").check()
    _wait_for_titles(page, "fast bells")
    page.reload()
    page.wait_for_selector(".star[aria-pressed=true]")
    star.click()
    page.wait_for_selector(".star[aria-pressed=true]", state="detached")


def test_a_job_is_renamed_and_the_name_can_be_taken_away(page: Any) -> None:
    page.locator("a.past", has_text="calm piano").click()
    page.wait_for_selector("#job-title:text-is('calm piano')")
    page.get_by_role("button", name="Rename: calm piano").click()
    dialog = page.get_by_role("dialog", name="Rename")
    field = dialog.get_by_label("Name")
    assert field.input_value() == "calm piano"
    _shoot(page, "rename")
    field.fill("My song")
    page.keyboard.press("Enter")
    page.wait_for_selector("#job-title:text-is('My song')")
    assert "My song" in _titles(page)
    label = "document.activeElement.getAttribute('aria-label')"
    assert page.evaluate(label) == "Rename: My song"
    page.reload()
    page.wait_for_selector("#job-title:text-is('My song')")
    page.get_by_role("searchbox").fill("song")
    _wait_for_titles(page, "My song")
    page.get_by_role("button", name="Rename: My song").click()
    dialog.get_by_label("Name").fill("not this")
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    page.get_by_role("button", name="Rename: My song").click()
    dialog.get_by_label("Name").fill("")
    dialog.get_by_role("button", name="Save").click()
    page.wait_for_selector("#job-title:text-is('calm piano')")


def test_a_job_is_deleted_after_a_question(page: Any, server: str, three: list[str]) -> None:
    page.locator("a.past", has_text="fast bells").click()
    page.wait_for_selector("#job-title:text-is('fast bells')")
    page.get_by_role("button", name="Delete: fast bells").click()
    dialog = page.get_by_role("dialog", name="Delete “fast bells” with its clips?")
    _shoot(page, "delete")
    dialog.get_by_role("button", name="Cancel").click()
    dialog.wait_for(state="detached")
    assert len(_titles(page)) == 3
    page.get_by_role("button", name="Delete: fast bells").click()
    dialog.get_by_role("button", name="Delete").click()
    _wait_for_titles(page, "slow piano", "calm piano")
    page.get_by_text("Your music appears here").wait_for()
    assert page.evaluate("document.activeElement.textContent").startswith("calm piano")
    left = [job["job_id"] for job in _call(server, "GET", "/v1/jobs")["jobs"]]
    assert left == [three[2], three[0]]


def test_an_unfinished_job_is_cancelled_and_deleted(page: Any, server: str) -> None:
    _call(server, "POST", "/v1/generate", {"prompt": "endless", "duration": 300})
    page.reload()
    page.get_by_role("button", name="Delete: endless").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("An unfinished job is cancelled first.").wait_for()
    dialog.get_by_role("button", name="Delete").click()
    _wait_for_titles(page, "slow piano", "fast bells", "calm piano")


def test_selected_jobs_come_as_one_zip_and_are_deleted(page: Any) -> None:
    page.get_by_label("Select: slow piano").check()
    page.get_by_label("Select: calm piano").check()
    page.locator("#history-count", has_text="2 selected").wait_for()
    assert page.evaluate("document.getElementById('history-all').indeterminate")
    _shoot(page, "selected")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download as zip").click()
    assert waiting.value.suggested_filename.startswith("musicgen-")
    with zipfile.ZipFile(waiting.value.path()) as archive:
        assert archive.namelist() == ["slow-piano-1.wav", "calm-piano-1.wav"]
    page.get_by_role("button", name="Delete selected").click()
    dialog = page.get_by_role("dialog", name="Delete 2 jobs with their clips?")
    dialog.get_by_role("button", name="Delete").click()
    _wait_for_titles(page, "fast bells")
    page.get_by_label("Select all").check()
    page.get_by_role("button", name="Delete selected").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_text("Nothing yet.").wait_for()


def test_older_pages_are_loaded_and_selected(page: Any, server: str) -> None:
    _make(server, *(f"song {number}" for number in range(10)))
    page.reload()
    page.wait_for_selector(".past-row")
    assert len(_titles(page)) == 10
    page.get_by_role("button", name="Show earlier ones").click()
    page.wait_for_selector(".past-row:nth-child(13)")
    assert page.evaluate("document.activeElement.textContent").startswith("slow piano")
    page.get_by_label("Select all").check()
    page.locator("#history-count", has_text="13 selected").wait_for()
    page.get_by_label("Select all").uncheck()
    assert page.locator("#history-actions").is_hidden()


def test_the_keyboard_alone_favours_and_deletes(page: Any) -> None:
    press_tab_until(page, "node => node.id === 'history-search'", most=90)
    page.keyboard.type("bells")
    _wait_for_titles(page, "fast bells")
    press_tab_until(page, "node => node.classList.contains('star')")
    page.keyboard.press("Space")
    page.wait_for_selector(".star[aria-pressed=true]")
    press_tab_until(page, "node => node.classList.contains('trash')", most=3)
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    press_tab_until(page, "node => node.classList.contains('danger')", most=3)
    page.keyboard.press("Enter")
    page.get_by_text("Nothing found.").first.wait_for()
    assert page.evaluate("document.activeElement.id") == "history-search"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing_in_the_history(page: Any, theme: str, width: int) -> None:
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 800})
    page.get_by_role("button", name="Favourite: fast bells").click()
    page.wait_for_selector(".star[aria-pressed=true]")
    page.get_by_label("Select all").check()
    _shoot(page, f"history-{theme}-{width}")
    assert_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for button in ("Rename: calm piano", "Delete: calm piano"):
        page.get_by_role("button", name=button).click()
        page.get_by_role("dialog").wait_for()
        assert_accessible(page)
        page.keyboard.press("Escape")


def test_the_history_speaks_german(server: str, three: list[str], browser: Any) -> None:
    context = browser.new_context(locale="de")
    page = context.new_page()
    page.goto(server)
    page.get_by_label("Auswählen: fast bells").check()
    page.locator("#history-count", has_text="1 ausgewählt").wait_for()
    page.get_by_role("button", name="Auswahl löschen").click()
    dialog = page.get_by_role("dialog", name="„fast bells“ mit seinen Clips löschen?")
    _shoot(page, "german")
    dialog.get_by_role("button", name="Löschen").click()
    _wait_for_titles(page, "slow piano", "calm piano")
    page.get_by_role("searchbox", name="Verlauf durchsuchen").fill("nichts da")
    page.get_by_text("Nichts gefunden.").first.wait_for()
    context.close()


def test_what_failed_is_offered_again_and_told_no_longer_than_it_is_so(
    page: Any, server: str, three: list[str]
) -> None:
    """The notice stayed for as long as the page did."""
    page.route("**/v1/jobs/*", lambda route: route.fulfill(status=503, body=""))
    page.get_by_role("button", name="Favourite: fast bells").click()
    notice = page.locator("#page-notice")
    notice.get_by_role("button", name="Try again").wait_for()
    page.unroute("**/v1/jobs/*")
    notice.get_by_role("button", name="Try again").click()
    page.wait_for_selector(".star[aria-pressed=true]")
    assert notice.is_hidden()
    assert _call(server, "GET", f"/v1/status/{three[1]}")["favourite"] is True


def test_a_job_deleted_in_another_tab_goes_when_it_is_used(
    page: Any, server: str, three: list[str]
) -> None:
    _call(server, "DELETE", f"/v1/jobs/{three[1]}")
    page.get_by_role("button", name="Favourite: fast bells").click()
    _wait_for_titles(page, "slow piano", "calm piano")
    notice = page.locator("#page-notice", has_text="This is not here any more.")
    notice.wait_for()
    page.get_by_role("button", name="Favourite: calm piano").click()
    page.wait_for_selector(".star[aria-pressed=true]")
    assert notice.is_hidden()


def test_jobs_beyond_the_first_page_are_read_again(page: Any, server: str) -> None:
    """They kept the state in which they were first shown, also where another tab deleted them."""
    ids = _make(server, *(f"part {number}" for number in range(10)))
    page.reload()
    page.get_by_role("button", name="Show earlier ones").click()
    page.locator(".past-title", has_text="calm piano").wait_for()
    last = _call(server, "GET", "/v1/jobs?limit=100")["jobs"][-1]["job_id"]
    assert last not in ids
    _call(server, "DELETE", f"/v1/jobs/{last}")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.locator(".past-title", has_text="calm piano").wait_for(state="detached")
    assert len(_titles(page)) == 12


def test_labels_and_questions_shorten_a_long_prompt(page: Any, server: str) -> None:
    """A screen reader read the whole prompt at each of a row's five controls."""
    _make(server, "very calm piano " * 30)
    page.reload()
    page.wait_for_selector(".past-row:nth-child(4)")
    labels = page.evaluate(
        "[...document.querySelectorAll('.past-row [aria-label]')].map("
        "(each) => each.getAttribute('aria-label'))"
    )
    assert len(labels) == 16
    assert max(map(len, labels)) <= 100
    page.get_by_role("button", name="Delete: very calm").click()
    title = page.get_by_role("heading", name="Delete “very calm piano")
    assert len(title.inner_text()) <= 120


def test_each_of_many_deleted_jobs_goes_at_once(page: Any) -> None:
    """All of them stayed on display until the last was deleted, half a minute later."""
    waiting: list[Any] = []

    def hold_the_third(route: Any) -> None:
        waiting.append(route)
        if len(waiting) < 3:
            route.continue_()

    page.route("**/v1/jobs/*", hold_the_third)
    page.get_by_label("Select all").check()
    page.get_by_role("button", name="Delete selected").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    _wait_for_titles(page, "calm piano")
    waiting[-1].continue_()
    page.get_by_text("Nothing yet.").first.wait_for()
    assert page.locator("#announcer").inner_text() == "3 jobs deleted"
