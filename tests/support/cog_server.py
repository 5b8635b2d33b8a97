"""Cog's own server around predict.py."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from infra.replicate.openapi_schema import render
from tests.support import ROOT

DEMO = ROOT / "musicgen" / "demo" / "checkpoint"
START_DEADLINE = 90.0
SLOT_DEADLINE = 5.0
_FINAL = ("SETUP_FAILED", "DEFUNCT", "UNHEALTHY")


@dataclass
class Server:
    """Cog's server, the folder for its temporary files, its log and its process."""

    client: httpx.Client
    temporary: Path
    log: Path
    process: subprocess.Popen[bytes]

    def post(self, path: str = "/predictions", **body: Any) -> httpx.Response:
        return self.client.post(path, json=body)

    def ask(self, body: bytes, kind: str | None = "application/json") -> httpx.Response:
        """The answer to a body of a Content-Type, once the slot is free."""
        end = time.monotonic() + SLOT_DEADLINE
        headers = {} if kind is None else {"Content-Type": kind}
        while True:
            response = self.client.post("/predictions", content=body, headers=headers)
            if response.status_code != 409:
                return response
            assert time.monotonic() < end, "the slot stays busy"
            time.sleep(0.01)

    def predict(self, **fields: Any) -> dict[str, Any]:
        """The answer to half a second of music, or to what `fields` say.

        Asks again while the slot is busy: Cog answers one caller a moment before it frees the slot
        for the next.
        """
        body = {"input": {"prompt": "calm piano", "duration": 0.5} | fields}
        response = self.ask(json.dumps(body).encode())
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def succeed(self, **fields: Any) -> dict[str, Any]:
        answer = self.predict(**fields)
        assert answer["status"] == "succeeded", answer
        return answer

    def fail(self, **fields: Any) -> str:
        """The error of a prediction that must fail, which shows nothing of the inside."""
        answer = self.predict(**fields)
        assert answer["status"] == "failed", answer
        for inside in ("Traceback", ".py", str(self.temporary), str(ROOT)):
            assert inside not in str(answer)
        return str(answer["error"])

    def health(self) -> str:
        return str(self.client.get("/health-check").json()["status"])

    def wait_for(self, status: str, deadline: float) -> None:
        end = time.monotonic() + deadline
        while (seen := self.health()) != status:
            assert seen not in _FINAL, f"{seen}: {self.log.read_text()}"
            assert time.monotonic() < end, f"still {seen}: {self.log.read_text()}"
            time.sleep(0.02)

    def output_files(self) -> list[Path]:
        return [p for p in self.temporary.glob("musicgen-outputs-*/**/*") if p.is_file()]


@contextmanager
def cog_server(
    folder: Path,
    runner: str = "predict.py:Runner",
    arguments: Sequence[str] = (),
    until: str = "READY",
    before: Sequence[str] = (),
    **variables: str,
) -> Iterator[Server]:
    """The server with the demo model loaded; it keeps to `folder`, which is made.

    `until`: the health to wait for. `before`: a command that runs the server's. `variables` are of
    the environment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary, log = folder / "temporary", folder / "log"
    temporary.mkdir()
    workplace = _workplace(folder / "checkout", runner)
    port = _free_port()
    environment = os.environ | {
        # Cog starts its worker as "python", from PATH.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COG_PREDICT_TYPE_STUB": runner,
        "PORT": str(port),
        "LOG_FORMAT": "console",
        "NO_COLOR": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(temporary),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_CACHE": str(hub_cache(folder / "hub")),
        "MUSICGEN_MODEL": "demo",
        "MUSICGEN_THREADS": "1",
        **variables,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "cog.server.http", "--host", "127.0.0.1", *arguments],
            cwd=workplace,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            _wait_for_port(port, process)
            server = Server(client, temporary, log, process)
            server.wait_for(until, START_DEADLINE)
            yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _workplace(folder: Path, runner: str) -> Path:
    """A folder as `cog build` lays it out: the code and the schema of this one runner."""
    (folder / ".cog").mkdir(parents=True)
    for name in ("predict.py", "handlers", "musicgen", "tests"):
        (folder / name).symlink_to(ROOT / name)
    source = (ROOT / "predict.py").read_text(encoding="utf-8")
    schema = render(source, runner.partition(":")[2])
    (folder / ".cog" / "openapi_schema.json").write_text(schema, encoding="utf-8")
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_DEADLINE
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the server did not come up")


def hub_cache(root: Path) -> Path:
    """A hub's cache with the demo's weights under the name of `small`, and cut off as `large`."""
    for name in ("small", "large"):
        folder = root / f"models--facebook--musicgen-{name}"
        snapshot = folder / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
        shutil.copytree(DEMO, snapshot)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(snapshot.name)
    weights = snapshot / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    return root
