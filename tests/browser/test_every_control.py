"""Each control of the page, used by pointer, keyboard and finger, in each language.

A control that appears without a row in `control_scenes.py` fails these tests, as does a visible
text that is none of the page's language.
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import fields
from typing import Any

import httpx
import pytest

from handlers.job_api.api.request_schema import JOB_FIELDS
from musicgen.midi.packages import find_missing
from musicgen.request import GenerationRequest
from tests.browser import control_scenes as scenes
from tests.browser.bucket_studio import open_bucket, serve_with_bucket
from tests.browser.control_rows import Row, change
from tests.browser.stage import DEVICES, WALK, Device, Stage

pytestmark = pytest.mark.browser

OTHERWISE = {"prompt", "duration", "sections", "continuation", "input_audio"}
OTHERWISE |= {"continuation_start", "continuation_end"}
"""Fields with rows of their own."""
MADE = {"prompt": "slow strings", "duration": 4, "variations": 2, "seed": 7}
DATA = re.compile(
    r"MusicGen|[?×.…0-9]+|curl|Python|JavaScript|wav|flac|mp3|ogg|opus|MIDI|float|Hz|LUFS"
    r"|calm \w+|slow strings|endless|renamed|short \w+|control \d+ \w+"
    r"|(song|slow-strings-7)\.wav.*|default|Seed"
    r"|\d+:\d\d / \d+:\d\d|[\d.,]+ (s|min \d+ s|kB|MB|%)|\d+ ?%.*|[0-9a-f-]{16,}|demo|none"
    r"|(Apache-2\.0|CC-BY-NC-4\.0).*|[\d,.]+ s · (Seed|seed)|\w+ · MusicGen"
    r"|(\d+ [Cc]lips, )?(gerade eben|just now|vor \d+ .+|\d+ \w+ ago)|local|studio"
    r"|\w[\w-]* \((Text|text).*\)|loudness|peak|rms|clip"
)
"""Texts of each language: names, numbers, and what the tests themselves have written."""
Visit = Callable[..., AbstractContextManager[Any]]


def make(address: str, **request: Any) -> str:
    """Have a job made, and return its id."""
    return str(httpx.post(f"{address}/v1/generate", json=request).json()["job_id"])


def finish(address: str, job: str) -> None:
    """Wait until a job is made."""
    with httpx.stream("GET", f"{address}/v1/jobs/{job}/events", timeout=120) as events:
        assert "completed" in "".join(events.iter_text())


@pytest.fixture(scope="module")
def place(
    request: pytest.FixtureRequest, server: str, environment: dict[str, str], tmp_path_factory: Any
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the address of a server with finished jobs, and the other origins of its page."""
    if request.param == "folder":
        yield server, ()
        return
    for bucket in open_bucket(tmp_path_factory.mktemp("weed")):
        folder = tmp_path_factory.mktemp("server")
        yield from serve_with_bucket(bucket, "redirect", environment, folder)


@pytest.fixture(scope="module")
def jobs(place: tuple[str, tuple[str, ...]]) -> str:
    """Have more jobs than the first page of the history shows; return one of two clips."""
    address, _ = place
    made = [make(address, prompt="short bells", duration=0.5) for _ in range(10)]
    last = make(address, **MADE)
    for job in (*made, last):
        finish(address, job)
    return last


def use(stage: Stage, row: Row) -> Any:
    """Use a control, and return its element.

    The page draws its lists anew now and then: an element that went just then is found again.
    """
    for _ in range(3):
        element = stage.find(row.control)
        try:
            row.act(stage, element)
            return element
        except Exception as error:
            if "not attached" not in str(error):
                raise AssertionError(f"{row.control}: {error}") from error
    raise AssertionError(f"{row.control} does not stay on the page")


def play_scene(stage: Stage, rows: list[Row]) -> None:
    """Use the controls of a scene, and look at its states."""
    for row in rows:
        if stage.device.name not in row.devices:
            continue
        element = use(stage, row)
        try:
            stage.wait(row.proof, element if row.proof.startswith("it ") else None)
        except AssertionError as error:
            raise AssertionError(f"{row.control}: {error}") from error
        stage.note_controls()
        if row.look:
            stage.look()


def open_page(stage: Stage, address: str, job: str | None = None) -> None:
    """Open the page anew, with an empty form."""
    stage.page.goto("about:blank")
    stage.page.goto(f"{address}/#job={job}" if job else address)
    stage.page.wait_for_selector("#studio:not([hidden])")
    stage.page.evaluate("document.querySelector('#request').reset()")


def list_fields() -> list[Row]:
    """Return a row for each field of a request that has one control."""
    names = {field.name for field in fields(GenerationRequest)} | set(JOB_FIELDS)
    shown = "() => document.querySelector('#recipe-code').textContent.includes('\"{}\"')"
    chosen = "it => it.selectedOptions.length === 1"
    return [
        Row(f"#f-{name}", change, chosen if name == "model_version" else shown.format(name))
        for name in sorted(names - OTHERWISE)
    ]


def use_form(stage: Stage, address: str) -> None:
    open_page(stage, address)
    stage.look()
    play_scene(stage, scenes.TOP + scenes.FORM + list_fields() + scenes.SECTIONS)
    open_page(stage, address)
    play_scene(stage, scenes.SUBMIT)


def use_sound(stage: Stage, address: str) -> None:
    open_page(stage, address)
    play_scene(stage, scenes.SOUND)


def use_job(stage: Stage, address: str, job: str) -> None:
    open_page(stage, address, job)
    stage.page.wait_for_selector(".clip:nth-child(2) .stage.drawn")
    stage.look()
    play_scene(stage, scenes.DONE + ([] if find_missing() else scenes.MIDI))


def use_running(stage: Stage, address: str, job: str = "") -> None:
    long = make(address, prompt="endless", duration=300, variations=2)
    open_page(stage, address, long)
    stage.page.wait_for_selector("#job .live:not([hidden])", timeout=120_000)
    play_scene(stage, scenes.RUNNING)


def use_history(stage: Stage, address: str) -> None:
    open_page(stage, address)
    play_scene(stage, scenes.EARLIER)
    name = f"control {secrets.randbelow(10**9)}"
    for word in ("one", "two", "three"):
        finish(address, make(address, prompt=f"{name} {word}", duration=0.5))
    find = Row(
        "#history-search",
        lambda stage, element: stage.write(element, name),
        "() => document.querySelectorAll('.past-row').length === 3",
    )
    play_scene(stage, [find, *scenes.HISTORY])


def use_notices(stage: Stage, address: str) -> None:
    page = stage.page
    open_page(stage, address)
    headers = {"Retry-After": "1"}
    page.route("**/v1/generate", lambda route: route.fulfill(status=503, headers=headers, body=""))
    play_scene(stage, scenes.AGAIN[:-1])
    page.unroute("**/v1/generate")
    play_scene(stage, scenes.AGAIN[-1:])
    page.route("**/session", lambda route: route.fulfill(status=503, body=""))
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector("#page-notice:not([hidden])")
    stage.look()
    page.unroute("**/session")
    play_scene(stage, scenes.LOST)


def use_keys(stage: Stage, address: str, job: str) -> None:
    """Use each key of the list of shortcuts."""
    page = stage.page
    open_page(stage, address, job)
    page.wait_for_selector(".clip:nth-child(2) .stage.drawn")
    listed = page.locator("#shortcuts-list kbd").all_text_contents()
    assert [key for key in listed if "+" not in key] == list(scenes.KEYS)
    for key, proof in scenes.KEYS.items():
        page.evaluate("document.activeElement.blur()")
        if key == "D":
            with page.expect_download():
                page.keyboard.press("d")
        else:
            page.keyboard.press("2" if key.startswith("1") else key.lower())
        stage.wait(proof)
        if key == "?":
            page.keyboard.press("Escape")
    page.locator("#f-prompt").fill("calm piano")
    page.keyboard.press("Control+Enter")
    stage.wait(scenes.is_there("#job-title:not([hidden])"))


def list_table() -> set[str]:
    """Return the controls that have a row."""
    named = (rows for rows in vars(scenes).values() if isinstance(rows, list))
    rows = [row for rows in named for row in rows if isinstance(row, Row)]
    return {row.control for row in rows + list_fields()} | {"#history-search"}


def check(stage: Stage) -> None:
    """Check that each control has a row, and that nothing was found."""
    rowless = stage.seen - list_table()
    assert rowless == set(), f"controls without a row of the table: {rowless}"
    strangers = {text for text in stage.strangers if not DATA.fullmatch(text)}
    assert strangers == set(), f"texts of no language of the page: {strangers}"
    assert stage.findings == []


SCENES: dict[str, Callable[[Stage, str, str], None]] = {
    "form": lambda stage, address, job: use_form(stage, address),
    "sound": lambda stage, address, job: use_sound(stage, address),
    "job": use_job,
    "running": lambda stage, address, job: use_running(stage, address),
    "history": lambda stage, address, job: use_history(stage, address),
    "notices": lambda stage, address, job: use_notices(stage, address),
    "keys": use_keys,
}


WHOLE = {("de", "pointer"), ("en", "keyboard"), ("en", "phone")}
"""Each device once in all scenes. The other languages get what plays and is drawn."""
SIGN_INS = [("de", DEVICES[0]), ("en", DEVICES[1]), ("de", DEVICES[2])]
SOUNDING = ("sound", "job", "running")
BUCKET = {
    ("en", "pointer"): tuple(scene for scene in SCENES if scene != "keys"),
    ("de", "phone"): SOUNDING,
}


def list_cases() -> Iterator[Any]:
    """Yield the place, the language, the device and the scene of each test."""
    for language, device in itertools.product(("en", "de"), DEVICES):
        case = (language, device.name)
        played = [("folder", scene) for scene in (SCENES if case in WHOLE else SOUNDING)]
        played += [("bucket", scene) for scene in BUCKET.get(case, ())]
        for place, scene in played:
            if scene != "keys" or device.name == "keyboard":
                name = "-".join((place, *case, scene))
                yield pytest.param(place, language, device, scene, id=name)


@pytest.mark.parametrize(
    ("place", "language", "device", "scene"), list(list_cases()), indirect=["place"], scope="module"
)
def test_each_control_is_used(
    visit: Visit,
    place: tuple[str, tuple[str, ...]],
    jobs: str,
    language: str,
    device: Device,
    scene: str,
) -> None:
    address, others = place
    with visit(address, *others, locale=language, script=WALK, **device.context) as page:
        page.emulate_media(reduced_motion="reduce")
        stage = Stage(page, device)
        SCENES[scene](stage, address, jobs)
        check(stage)


@pytest.mark.parametrize(("language", "device"), SIGN_INS)
def test_a_key_is_asked_for(
    visit: Visit, guarded: tuple[str, str], language: str, device: Device
) -> None:
    address, key = guarded
    with visit(address, locale=language, script=WALK, **device.context) as page:
        page.wait_for_selector("#sign-in:not([hidden])")
        stage = Stage(page, device)
        stage.look()
        play_scene(stage, scenes.SIGN_IN)
        stage.write(stage.find("#key"), key)
        stage.press(stage.find(scenes.SIGN_IN_BUTTON))
        page.wait_for_selector("#studio:not([hidden])")
        stage.look()
        play_scene(stage, scenes.SIGN_OUT)
        check(stage)


def test_a_control_without_a_row_is_found(visit: Visit, server: str) -> None:
    with visit(server, script=WALK, locale="de") as page:
        page.wait_for_selector("#studio:not([hidden])")
        page.evaluate(
            """() => { const button = document.createElement("button");
              button.textContent = "Start again";
              document.querySelector("main").append(button); }"""
        )
        stage = Stage(page, DEVICES[0])
        assert "button Start again" in stage.note_controls() - stage.used
        stage.look()
        assert "Start again" in stage.strangers
