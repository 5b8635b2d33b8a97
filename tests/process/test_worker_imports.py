"""What a worker has imported after a request, on each platform.

Each process writes the names of its modules while it runs, and when it ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.test_hot_path_imports import FORBIDDEN, OPTIONAL
from tests.support import ROOT
from tests.support.job_server import data_folder, job_server
from tests.support.model_server import start_model_server
from tests.support.packs import pack_folder

WRITE_MODULES = """
import atexit, os, sys, threading, time
path = os.path.join({folder!r}, str(os.getpid()))
def write():
    with open(path + ".new", "w") as file:
        file.write(" ".join([*sys.modules]))
    os.replace(path + ".new", path)
def write_often():
    while True:
        time.sleep(0.5)
        write()
atexit.register(write)
# A server may kill a process before its end is reached.
threading.Thread(target=write_often, daemon=True).start()
"""
BACKEND = "musicgen.engine.native.backend"
"""Only a process that loads a packed native file imports it."""
PLATFORMS = {
    "cog": """
import asyncio, predict
runner = predict.Runner()
runner.setup()
asyncio.run(runner.cog_run.generate({"prompt": "piano", "duration": 0.2}, lambda *_, **__: None))
""",
    "runpod": """
import runpy
runpy.run_path("runpod_handler.py", run_name="__main__")
""",
    "huggingface": """
import handler
answer = handler.EndpointHandler("")({"inputs": "piano", "parameters": {"duration": 0.2}})
assert answer, answer
""",
}
JOB_WORKER = {"procrastinate"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A packed native file."""
    folder = tmp_path_factory.mktemp("packed")
    return str(pack_folder(Path("demo"), "native-int8", folder).path)


@pytest.fixture
def list_modules(tmp_path: Path) -> Callable[[], set[str]]:
    """`list_modules()` waits for the process with the model; returns its packages."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (tmp_path / "sitecustomize.py").write_text(WRITE_MODULES.format(folder=str(folder)))

    def read() -> set[str]:
        for _ in range(100):
            texts = [file.read_text().split(" ") for file in folder.glob("*[0-9]")]
            workers = [names for names in texts if BACKEND in names]
            if workers:
                [worker] = workers
                return {name.split(".")[0] for name in worker}
            time.sleep(0.1)
        raise AssertionError("no process has loaded the model")

    return read


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_worker_of_a_platform_answers_without_torch(
    tmp_path: Path, list_modules: Callable[[], set[str]], platform: str, model: str
) -> None:
    if platform != "huggingface":
        pytest.importorskip(platform)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MUSICGEN_")}
    environment = kept | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
        "MUSICGEN_MODEL": model,
        "MUSICGEN_DATA_DIR": str(tmp_path / "data"),
    }
    done = subprocess.run(
        [sys.executable, "-c", PLATFORMS[platform]],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    loaded = list_modules()
    assert loaded & ((FORBIDDEN | OPTIONAL | {"torch"}) - {platform}) == set()


def test_a_worker_of_the_job_api_answers_without_torch(
    tmp_path: Path, list_modules: Callable[[], set[str]], model: str
) -> None:
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    with (
        data_folder() as folder,
        job_server(folder, PYTHONPATH=path, MUSICGEN_MODEL=model) as server,
    ):
        job = server.ended(server.submit(prompt="piano", duration=0.2))
        assert job["status"] == "completed"
        time.sleep(1)  # longer than the pause between two lists
    assert list_modules() & ((FORBIDDEN | OPTIONAL | {"torch"}) - JOB_WORKER) == set()


def test_a_model_server_answers_without_torch(
    tmp_path: Path, list_modules: Callable[[], set[str]], model: str
) -> None:
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    with start_model_server(tmp_path, PYTHONPATH=path, MUSICGEN_MODEL=model) as server:
        server.wait_until_ready()
        answer = server.http.post("/invocations", json={"prompt": "piano", "duration": 0.2})
        assert answer.status_code == 200
        time.sleep(1)  # longer than the pause between two lists
    assert list_modules() & ((FORBIDDEN | OPTIONAL | {"torch"}) - {"uvicorn"}) == set()
