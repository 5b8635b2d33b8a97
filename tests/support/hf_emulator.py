"""Hugging Face's endpoint emulator around the handler.py of a folder.

The emulator needs an older starlette than the rest of the project: it lives in a folder of its
own (`make .venv/hf-emulator/installed`), which only its process sees.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

FOLDER_VARIABLE = "MUSICGEN_TEST_HF_EMULATOR"
START_DEADLINE = 90.0


@dataclass
class Endpoint:
    """The emulator, the repository that it serves, and its log."""

    client: httpx.Client
    repository: Path
    log: Path

    def call(self, inputs: object, **parameters: Any) -> httpx.Response:
        return self.client.post("/", json={"inputs": inputs, "parameters": parameters})

    def succeed(self, inputs: object, **parameters: Any) -> Any:
        """The answer to a quarter of a second of music, or to what `parameters` say."""
        response = self.call(inputs, **{"duration": 0.25, "seed": 7, **parameters})
        assert response.status_code == 200, response.text
        return response.json()

    def fail(self, response: httpx.Response) -> str:
        """The error of a call that must fail, which shows nothing of the inside."""
        assert response.status_code == 400, response.text
        assert response.headers["content-type"] == "application/json"
        answer = response.json()
        assert list(answer) == ["error"]
        for inside in ("Traceback", ".py", str(self.repository)):
            assert inside not in answer["error"]
        return str(answer["error"])


def emulator_folder() -> Path | None:
    """Where the emulator is installed, None where it is not."""
    beside = Path(sys.prefix) / "hf-emulator"
    folder = Path(os.environ.get(FOLDER_VARIABLE) or beside)
    return folder if (folder / "hf_endpoints_emulator").is_dir() else None


@contextmanager
def hf_endpoint(emulator: Path, repository: Path, log: Path) -> Iterator[Endpoint]:
    """Serves `repository`, whose code is the only one of this project that is importable."""
    port = _free_port()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MUSICGEN_")
    } | {
        "HANDLER_PATH": str(repository / "handler.py"),
        "PYTHONPATH": f"{emulator}{os.pathsep}{repository}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HF_HUB_OFFLINE": "1",
        "MUSICGEN_THREADS": "1",
    }
    command = [sys.executable, "-m", "uvicorn", "hf_endpoints_emulator.emulator:app"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=repository,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            _wait_for_port(port, process, log)
            yield Endpoint(client, repository, log)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """It listens when the model is loaded."""
    end = time.monotonic() + START_DEADLINE
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"the endpoint did not come up: {log.read_text()}")
