"""Measurement of one start of a Cog server: time to readiness, to the first audio, and its cost.

Cog's own server runs on the loopback interface, in a folder with the layout of `cog build`. Seconds
count from just before the start of its process to the last byte of the reply.
"""

from __future__ import annotations

import compileall
import json
import os
import resource
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra.replicate.openapi_schema import render

ROOT = Path(__file__).resolve().parents[2]
NAIVE = Path(__file__).parent / "naive"
OURS = ("predict.py", "handlers", "musicgen")
PROMPT = "80s pop track with bassy drums and synth"
DEADLINE_SECONDS = 300.0
POLL_SECONDS = 0.01
_FAILED = ("SETUP_FAILED", "DEFUNCT", "UNHEALTHY")


class StartFailed(Exception):
    """Failed start or failed first prediction; the text has the server's log."""


@dataclass(frozen=True)
class Start:
    """Measurement of one start.

    `ready` and `first_audio`: seconds to them. `cpu`: CPU seconds of all processes. `blocks_read`:
    blocks of 512 bytes read from disk. `phases`: the worker's own timeline, if it reports one.
    """

    ready: float
    first_audio: float
    cpu: float
    blocks_read: int
    phases: Mapping[str, float] = field(default_factory=dict)

    def to_mapping(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


def start_once(
    source: Path, files: tuple[str, ...], environment: Mapping[str, str], seconds: float
) -> Start:
    """Start a server for `source`/predict.py and request one clip of `seconds`.

    `files`: names in `source`, the content of the image.

    Raises: `StartFailed`.
    """
    with TemporaryDirectory(prefix="coldstart-") as name:
        folder = Path(name)
        workplace = _workplace(folder / "src", source, files)
        port, log = _free_port(), folder / "log"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with log.open("wb") as output:
            began = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, "-m", "cog.server.http", "--host", "127.0.0.1"],
                cwd=workplace,
                env=_environment(folder, port) | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            _wait_until_ready(port, process, log)
            ready = time.perf_counter() - began
            answer = _ask(port, {"prompt": PROMPT, "duration": seconds}, log)
            first_audio = time.perf_counter() - began
        finally:
            process.terminate()
            process.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    blocks = after.ru_inblock - before.ru_inblock
    return Start(ready, first_audio, used, blocks, _phases(answer))


def build_ours(
    model: str, precision: str, checkout: Path = ROOT
) -> tuple[Path, tuple[str, ...], dict[str, str]]:
    """Return the arguments of `start_once` for this project with a model or a packed file."""
    _compile_sources(checkout, OURS)
    environment = {"MUSICGEN_MODEL": model, "MUSICGEN_PRECISION": precision}
    return checkout.resolve(), OURS, environment | {"PYTHONPATH": ""}


def build_naive(checkpoint: Path, precision: str) -> tuple[Path, tuple[str, ...], dict[str, str]]:
    """Return the arguments of `start_once` for the baseline."""
    _compile_sources(NAIVE, ("predict.py",))
    environment = {"NAIVE_MODEL": str(checkpoint), "NAIVE_DTYPE": precision}
    return NAIVE, ("predict.py",), environment | {"PYTHONPATH": ""}


def _compile_sources(folder: Path, files: tuple[str, ...]) -> None:
    """Compile bytecode as images have it, also with PYTHONDONTWRITEBYTECODE."""
    for path in (folder / name for name in files):
        compile_one = compileall.compile_dir if path.is_dir() else compileall.compile_file
        compile_one(str(path), quiet=2)


def _phases(answer: Mapping[str, Any]) -> dict[str, float]:
    prefix, suffix = "start_", "_seconds"
    return {
        name.removeprefix(prefix).removesuffix(suffix): value
        for name, value in (answer.get("metrics") or {}).items()
        if name.startswith(prefix)
    }


def _workplace(folder: Path, source: Path, files: tuple[str, ...]) -> Path:
    (folder / ".cog").mkdir(parents=True)
    for name in files:
        (folder / name).symlink_to(source / name)
    schema = render((source / "predict.py").read_text(encoding="utf-8"))
    (folder / ".cog" / "openapi_schema.json").write_text(schema, encoding="utf-8")
    return folder


def _environment(folder: Path, port: int) -> dict[str, str]:
    return dict(os.environ) | {
        # Cog starts its worker as "python", from PATH.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COG_PREDICT_TYPE_STUB": "predict.py:Runner",
        "PORT": str(port),
        "TMPDIR": str(folder),
        "HF_HUB_OFFLINE": "1",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health-check") as answer:
                status = json.load(answer)["status"]
        except OSError:
            status = "unreachable"
        if status == "READY":
            return
        if status in _FAILED:
            break
        time.sleep(POLL_SECONDS)
    raise StartFailed(f"the server did not become ready:\n{_tail(log)}")


def _ask(port: int, fields: Mapping[str, Any], log: Path) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/predictions",
        json.dumps({"input": fields}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as response:
        answer: dict[str, Any] = json.load(response)
    if answer["status"] != "succeeded":
        raise StartFailed(f"the first prediction failed: {answer.get('error')}\n{_tail(log)}")
    return answer


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-3000:]
