"""`musicgen serve model` as a process on a free port of this machine."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support import ROOT
from tests.support.job_server import environment, free_port

START_SECONDS = 60.0
_PLATFORM_VARIABLES = ("AIP_", "SAGEMAKER_", "K_SERVICE", "PORT")


@dataclass
class ModelServerProcess:
    process: subprocess.Popen[bytes]
    url: str
    log_file: Path
    http: httpx.Client

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def wait_until_ready(self, path: str = "/ping") -> list[int]:
        """The statuses of the health checks, 0 for no connection, until the first 200."""
        statuses: list[int] = []
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            try:
                statuses.append(self.http.get(path).status_code)
            except httpx.TransportError:
                statuses.append(0)
            if statuses[-1] == 200:
                return statuses
            time.sleep(0.02)
        raise AssertionError(self.log)


@contextmanager
def start_model_server(folder: Path, **settings: object) -> Iterator[ModelServerProcess]:
    """A server that is not waited for. `settings`: environment variables; PORT may be one."""
    port = next((settings[n] for n in ("AIP_HTTP_PORT", "PORT") if n in settings), free_port())
    env = environment(folder, MUSICGEN_SLOTS=2, **settings)
    kept = {n: v for n, v in env.items() if n in settings or not n.startswith(_PLATFORM_VARIABLES)}
    log = folder / "model_server.log"
    command = [sys.executable, "-m", "handlers.cli", "serve", "model", "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=kept, cwd=ROOT, stdout=out, stderr=out)
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=url, timeout=60) as http:
            yield ModelServerProcess(process, url, log, http)
    finally:
        process.kill()
        process.wait()
