"""Sounds in the form of the web page: refused ones, a part of one, and the microphone."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.browser.steps import MADE_MS, job_in_address, wait_for_state
from tests.support.clips import wav

pytestmark = pytest.mark.browser


def jobs_of(server: str) -> int:
    return len(httpx.get(f"{server}/v1/jobs?limit=100").json()["jobs"])


def choose(page: Any, content: bytes, name: str = "song.wav") -> None:
    if page.locator("#sound-group").get_attribute("open") is None:
        page.get_by_text("Start from a sound", exact=True).click()
    page.get_by_label("A sound file").set_input_files(
        {"name": name, "mimeType": "audio/wav", "buffer": content}
    )


def test_a_refused_sound_never_becomes_a_job_without_it(page: Any, server: str) -> None:
    before = jobs_of(server)
    page.get_by_label("What should it sound like?").fill("follow my melody")
    page.get_by_label("Length in seconds").fill("1")
    choose(page, b"no sound at all" * 99)
    page.wait_for_selector("#refused:not([hidden])", timeout=MADE_MS)
    for _ in range(2):
        page.get_by_role("button", name="Make music").click()
        page.wait_for_selector("#f-input_audio[aria-invalid=true]")
        page.wait_for_timeout(300)
    page.reload()
    page.wait_for_selector("#refused:not([hidden])")
    page.get_by_role("button", name="Make music").click()
    page.wait_for_timeout(300)
    assert jobs_of(server) == before
    page.get_by_role("button", name="Go on without it").click()
    page.get_by_role("button", name="Make music").click()
    wait_for_state(page, "completed")
    assert jobs_of(server) == before + 1


def test_a_lost_upload_is_sent_again(page: Any) -> None:
    page.route("**/v1/uploads", lambda route: route.fulfill(status=503, body=""))
    choose(page, wav(1.0))
    page.get_by_role("button", name="Upload again").wait_for()
    page.unroute("**/v1/uploads")
    page.get_by_role("button", name="Upload again").click()
    page.locator("#upload-text", has_text="song.wav (1 s").wait_for(timeout=MADE_MS)
    assert page.locator("#refused").is_hidden()


def test_a_file_beyond_the_limit_blocks_the_job(page: Any, server: str) -> None:
    before = jobs_of(server)
    page.get_by_label("What should it sound like?").fill("bells")
    page.get_by_text("Start from a sound", exact=True).click()
    page.evaluate(
        """() => {
          const files = new DataTransfer();
          files.items.add(new File([new Uint8Array(100e6 + 1)], "long.wav", {type: "audio/wav"}));
          const input = document.querySelector("#f-input_audio");
          input.files = files.files;
          input.dispatchEvent(new Event("change"));
        }"""
    )
    page.get_by_text("The file is too large (100.0 MB).").wait_for()
    page.get_by_role("button", name="Make music").click()
    page.wait_for_timeout(500)
    assert jobs_of(server) == before
    page.reload()
    page.get_by_text("The file is too large (100.0 MB).").wait_for()


def test_a_refusal_keeps_its_reason_in_each_language(page: Any) -> None:
    """After a reload the page said that the sound had not reached the server."""
    error = page.locator("#f-input_audio-error")
    choose(page, b"no sound at all" * 99)
    error.get_by_text("The file is not readable audio, or is damaged.").wait_for(timeout=MADE_MS)
    page.wait_for_timeout(500)
    page.reload()
    error.get_by_text("The file is not readable audio, or is damaged.").wait_for()
    page.get_by_label("Language", exact=True).select_option("de")
    error.get_by_text("Die Datei ist kein lesbares Audio, oder sie ist beschädigt.").wait_for()
    page.get_by_role("button", name="Ohne weitermachen").click()
    page.route("**/v1/uploads", lambda route: route.fulfill(status=503, body=""))
    page.get_by_label("Audiodatei").set_input_files(
        {"name": "song.wav", "mimeType": "audio/wav", "buffer": wav(1.0)}
    )
    page.get_by_role("button", name="Noch einmal hochladen").wait_for()
    page.wait_for_timeout(500)
    page.reload()
    error.get_by_text("Dieses Audio ist nicht beim Server angekommen.").wait_for()
    page.get_by_label("Sprache", exact=True).select_option("en")
    error.get_by_text("This sound did not reach the server.").wait_for()


def test_a_part_is_chosen_on_the_waveform(page: Any, server: str) -> None:
    choose(page, wav(4.0))
    page.wait_for_selector("#region .stage.drawn", timeout=MADE_MS)
    start, end = page.get_by_label("Start of the part"), page.get_by_label("End of the part")
    start.press("PageUp")
    start.press("ArrowRight")
    assert page.get_by_label("From second").input_value() == "1.1"
    box = page.locator(".region-box").bounding_box()
    handle = end.bounding_box()
    page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, handle["y"] + 20, steps=4)
    page.mouse.up()
    assert float(page.get_by_label("To second").input_value()) == pytest.approx(3, abs=0.1)
    page.get_by_label("To second").fill("2.5")
    assert end.get_attribute("aria-valuenow") == "2.5"
    page.locator("#region").get_by_role("button", name="Hear the part").click()
    page.wait_for_timeout(500)
    assert page.evaluate("document.querySelector('#upload-preview').currentTime") > 1.1
    page.get_by_label("Continue this clip").check()
    page.get_by_label("What should it sound like?").fill("bells")
    page.get_by_label("Length in seconds").fill("3")
    page.get_by_role("button", name="Make music").click()
    wait_for_state(page, "completed")
    request = httpx.get(f"{server}/v1/status/{job_in_address(page)}").json()["request"]
    assert (request["continuation_start"], request["continuation_end"]) == (1.1, 2.5)


def test_a_sound_of_an_earlier_job_is_used_again(page: Any, server: str) -> None:
    choose(page, wav(1.0))
    page.wait_for_selector("#region .stage.drawn", timeout=MADE_MS)
    page.get_by_label("Continue this clip").check()
    page.get_by_label("What should it sound like?").fill("bells")
    page.get_by_label("Length in seconds").fill("2")
    page.get_by_role("button", name="Make music").click()
    wait_for_state(page, "completed")
    first = httpx.get(f"{server}/v1/status/{job_in_address(page)}").json()["request"]
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="More like this").click()
    page.get_by_role("button", name="Make music").click()
    page.wait_for_url(lambda url: "#job=" in url and first is not None)
    wait_for_state(page, "completed")
    newest = httpx.get(f"{server}/v1/jobs?limit=1").json()["jobs"][0]["request"]
    assert newest["input_audio"] == first["input_audio"]


def test_the_microphone_becomes_a_sound(page: Any) -> None:
    page.get_by_text("Start from a sound", exact=True).click()
    page.get_by_role("button", name="Record with the microphone").click()
    page.get_by_role("button", name="Stop recording (0:01)").wait_for()
    page.wait_for_timeout(700)
    page.get_by_role("button", name="Stop recording").click()
    page.locator("#upload-text", has_text="Recording (").wait_for(timeout=MADE_MS)
    page.wait_for_selector("#region .stage.drawn", timeout=MADE_MS)


def test_a_microphone_that_is_refused_is_told(page: Any) -> None:
    page.evaluate(
        """() => { navigator.mediaDevices.getUserMedia = () =>
          Promise.reject(new DOMException("no", "NotAllowedError")); }"""
    )
    page.get_by_text("Start from a sound", exact=True).click()
    page.get_by_role("button", name="Record with the microphone").click()
    page.get_by_text("This page may not use the microphone.").wait_for()
