"""The web address of the app on Modal, on loopback: `python -m tests.support.modal_web PORT`.

Modal serves the same ASGI application by a server of its own in the container.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support import ROOT
from tests.support.job_server import environment, free_port

START_SECONDS = 60.0


@dataclass
class ModalWebProcess:
    process: subprocess.Popen[bytes]
    http: httpx.Client
    port: int
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")


@contextmanager
def start_modal_web(folder: Path, **settings: object) -> Iterator[ModalWebProcess]:
    """Serve the app of the demo model, and wait until it answers."""
    port, log = free_port(), folder / "modal_web.log"
    options = {"MODAL_APP_MODEL": "demo", "MODAL_APP_GPU": "none", "MUSICGEN_SLOTS": 2}
    env = environment(folder, **options, **settings)
    command = [sys.executable, "-m", "tests.support.modal_web", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, cwd=ROOT, stdout=out, stderr=out)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            server = ModalWebProcess(process, http, port, log)
            _wait(server)
            yield server
    finally:
        process.kill()
        process.wait()


def _wait(server: ModalWebProcess) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.process.poll() is None:
        try:
            server.http.get("/")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(server.log)


def _serve(port: int) -> None:
    import uvicorn

    from handlers import call_body
    from infra.modal.app import MusicGenApp

    # The slow-body test cannot wait for the real limit.
    call_body.BODY_SECONDS = float(os.environ.get("TEST_BODY_SECONDS", call_body.BODY_SECONDS))
    warnings.simplefilter("ignore")
    app = MusicGenApp().web.local()
    uvicorn.run(app, host="127.0.0.1", port=port, timeout_graceful_shutdown=8)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
