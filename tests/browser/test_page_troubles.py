"""What the web page does when something is refused, lost or does not come through."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.steps import (
    MADE_MS,
    job_in_address,
    submit,
    wait_for_state,
    wait_until_it_plays,
)

pytestmark = pytest.mark.browser


def test_a_bad_field_is_told_at_its_control(page: Any) -> None:
    submit(page, seconds="500")
    control = page.get_by_label("Length in seconds")
    page.wait_for_selector("#f-duration[aria-invalid=true]")
    assert control.evaluate("node => node === document.activeElement")
    message = page.locator("#f-duration-error")
    assert "300" in message.inner_text()
    assert "f-duration-error" in control.get_attribute("aria-describedby")
    submit(page, seconds="1")
    wait_for_state(page, "completed")
    assert control.get_attribute("aria-invalid") is None
    assert message.count() == 0


def test_a_bad_field_that_is_folded_away_is_unfolded(page: Any) -> None:
    page.get_by_text("Finish", exact=True).click()
    page.get_by_label("Fade in, seconds").fill("31")
    page.get_by_text("Finish", exact=True).click()
    submit(page)
    page.wait_for_selector("#f-fade_in[aria-invalid=true]")
    assert page.get_by_label("Fade in, seconds").is_visible()


def test_nothing_said_and_nothing_sent_is_refused_at_the_prompt(page: Any) -> None:
    page.get_by_role("button", name="Make music").click()
    page.wait_for_selector("#f-prompt[aria-invalid=true]")


def test_a_file_that_is_no_sound_is_refused_at_its_control(page: Any) -> None:
    page.get_by_text("Start from a sound", exact=True).click()
    page.get_by_label("A sound file").set_input_files(
        {"name": "song.wav", "mimeType": "audio/wav", "buffer": b"no sound at all" * 99}
    )
    page.wait_for_selector("#f-input_audio[aria-invalid=true]", timeout=MADE_MS)
    assert page.locator("#upload").is_hidden()


def test_the_page_polls_where_events_do_not_come_through(page: Any) -> None:
    page.route("**/jobs/*/events", lambda route: route.fulfill(status=404, body=""))
    submit(page, seconds="1")
    wait_for_state(page, "completed")


def test_the_page_listens_again_where_events_break_off(page: Any) -> None:
    calls: list[str] = []

    def break_off_first(route: Any) -> None:
        calls.append(route.request.url)
        if len(calls) > 1:
            route.continue_()
            return
        route.fulfill(content_type="text/event-stream", body="retry: 100\n\n")

    page.route("**/jobs/*/events", break_off_first)
    submit(page, seconds="1")
    wait_for_state(page, "completed")
    assert len(calls) == 2


SLEEP = """
  let made = 0;
  const clock = Date.now;
  Date.now = () => clock() + (window.slept ?? 0);
  window.EventSource = class extends EventSource {
    addEventListener(type, listener) {
      const isFirst = (made += 1) <= 2;
      let heard = 0;
      super.addEventListener(type, (event) => {
        heard += 1;
        if (!isFirst || heard < 2) listener(event);
      });
    }
  };
"""
"""The first connection falls silent after its first event; `slept` moves the clock."""


def test_a_page_that_slept_listens_again(server: str, visit: Any) -> None:
    """Its connection was cut, and the job was shown as running for good."""
    with visit(server, script=SLEEP) as page:
        page.wait_for_selector("#studio:not([hidden])")
        submit(page, seconds="2")
        page.wait_for_selector("#job .state:is([data-state=queued], [data-state=running])")
        job = job_in_address(page)
        status = "async (id) => (await (await fetch(`/v1/status/${id}`)).json()).status"
        while page.evaluate(status, job) != "completed":
            page.wait_for_timeout(100)
        assert page.locator("#job .state[data-state=completed]").count() == 0
        wake = "window.slept = 60_000; document.dispatchEvent(new Event('visibilitychange'))"
        page.evaluate(wake)
        wait_for_state(page, "completed")


def test_a_clip_that_did_not_load_plays_when_it_is_asked_for_again(page: Any) -> None:
    page.route("**/audio/*", lambda route: route.fulfill(status=503, body=""))
    submit(page)
    page.get_by_text("The clip could not be loaded").wait_for(timeout=MADE_MS)
    page.unroute("**/audio/*")
    page.get_by_role("button", name="Play the clip").click()
    wait_until_it_plays(page)
    assert page.get_by_text("The clip could not be loaded").is_hidden()


def test_a_clip_plays_where_its_waveform_cannot_be_drawn(page: Any) -> None:
    submit(page)
    page.add_init_script("AudioContext.prototype.decodeAudioData = () => Promise.reject('no')")
    wait_for_state(page, "completed")
    page.reload()
    page.wait_for_selector(".stage.plain")
    page.get_by_role("button", name="Play the clip").click()
    wait_until_it_plays(page)


def test_a_lost_connection_is_told_and_the_same_job_sent_again(page: Any) -> None:
    keys: list[str] = []

    def lose_first(route: Any) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) > 1:
            route.continue_()
            return
        route.fulfill(status=503, headers={"Retry-After": "1"}, body="")

    page.route("**/generate", lose_first)
    submit(page, seconds="1")
    page.locator("#form-notice", has_text="You can try again in 1 s").wait_for()
    page.get_by_role("button", name="Try again", exact=True).click()
    wait_for_state(page, "completed")
    assert len(keys) == 2
    assert len(set(keys)) == 1
