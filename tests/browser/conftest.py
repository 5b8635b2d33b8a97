"""A real server of the job API and a real browser for the tests of the web page."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from tests.support.job_server import data_folder

START_SECONDS = 180
STOP_SECONDS = 90
FLAGS = (
    "--no-sandbox",
    "--autoplay-policy=no-user-gesture-required",
    "--mute-audio",
    # A microphone with a beep in it, allowed without a question.
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
REFUSED = "Failed to load resource: the server responded with a status of"
"""What Chromium writes about a refusal by the API, which the page shows to its user."""


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _wait_until_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/readyz", timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"the server did not get ready:\n{log.read_text()[-4000:]}")


@pytest.fixture(scope="session")
def environment() -> Iterator[dict[str, str]]:
    """Of the server and of commands that shall meet its data."""
    theirs = ("MUSICGEN_", "DATABASE_URL")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    with data_folder() as data:
        # The tests are quicker than a person.
        limit = {"MUSICGEN_RATE_LIMIT": "100000/minute"}
        yield {**kept, "MUSICGEN_DATA_DIR": str(data), **limit}


def serve(environment: dict[str, str], folder: Path) -> Iterator[str]:
    """The address of `musicgen serve all`, which stops when the generator is closed."""
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "handlers.cli", "serve", "all", "--port", str(port)],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until_ready(address, process, log)
            yield address
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="session")
def server(
    browser: Any, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a server; none is started where no browser will ask it."""
    yield from serve(environment, tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="session")
def guarded(
    browser: Any, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """The address of a server that asks for keys, and a key."""
    with data_folder() as data:
        guarded = {**environment, "MUSICGEN_DATA_DIR": str(data), "MUSICGEN_API_AUTH": "on"}
        for address in serve(guarded, tmp_path_factory.mktemp("guarded")):
            command = [sys.executable, "-m", "handlers.cli", "keys", "create", "studio"]
            made = subprocess.run(
                command, cwd=ROOT, env=guarded, check=True, capture_output=True, text=True
            )
            key = re.search(r"^key: (\S+)$", made.stdout, re.MULTILINE)
            assert key is not None
            yield address, key[1]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = os.environ.get("MUSICGEN_TEST_CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.skip("needs Chromium: on the PATH, or where MUSICGEN_TEST_CHROMIUM says")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=path, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any) -> Callable[..., AbstractContextManager[Any]]:
    """`with visit(address) as page`. At the end: nothing was asked of an origin other than that and
    `others`, every file of the page was there, and no error was written to the console, where
    refusals by the content security policy would be too. `options`: of the browser's context, and a
    `script` that each document runs."""

    @contextmanager
    def visit(address: str, *others: str, **options: Any) -> Iterator[Any]:
        options = {"viewport": {"width": 1280, "height": 900}, "locale": "en", **options}
        script = options.pop("script", None)
        context = browser.new_context(**options)
        if script is not None:
            context.add_init_script(script)
        page = context.new_page()
        wrong: list[str] = []

        def asked(request: Any) -> None:
            if not request.url.startswith((f"{address}/", "blob:", "data:", *others)):
                wrong.append(f"another origin: {request.url}")

        def answered(response: Any) -> None:
            if "/static/" in response.url and response.status >= 400:
                wrong.append(f"missing: {response.url}")

        def wrote(message: Any) -> None:
            if message.type == "error" and not message.text.startswith(REFUSED):
                wrong.append(message.text)

        page.on("request", asked)
        page.on("response", answered)
        page.on("console", wrote)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        yield page
        context.close()
        assert wrong == []

    return visit


@pytest.fixture
def page(server: str, visit: Callable[[str], AbstractContextManager[Any]]) -> Iterator[Any]:
    """The page of a server that asks for no keys, opened."""
    with visit(server) as page:
        page.wait_for_selector("#studio:not([hidden])")
        yield page
