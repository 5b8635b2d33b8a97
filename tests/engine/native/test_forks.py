"""Processes with a native engine: forks generate the same, and all of them end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from musicgen.model.native.library import load_library
from tests.support import ROOT
from tests.support.packs import pack_folder

pytestmark = pytest.mark.skipif(load_library() is None, reason="no native library here")

IN_A_PROCESS = """
import os, sys, time
from pathlib import Path
from musicgen.engine.interface import GenerationJob, Row, run_to_end
from musicgen.engine.loading import load_engine
from musicgen.engine.native import loading
from musicgen.model.native import generation
from musicgen.process.threads import use_threads
from musicgen.request import SamplingParams
from musicgen.settings import Settings

generation.LEAST_MOVED = 1
use_threads(2)

def load():
    return load_engine(Path(sys.argv[1]), "toy", Settings(device="cpu"))

def start(engine, frames):
    row = Row("slow calm piano", 5, SamplingParams(1.0, 20, 0.0, 3.0))
    return engine.generate(GenerationJob((row,), frames))

def generate(engine):
    return run_to_end(start(engine, 20))
"""
FORK = """
engine = load()
if sys.argv[2] == "used":
    generate(engine)
if sys.argv[2] == "busy":
    running = start(engine, 1000)
    next(running)
sys.stdout.flush()
if (child := os.fork()) == 0:
    found = generate(engine)
    print(*found.codes.ravel())
    sys.exit(0)
end = time.monotonic() + 60
while os.waitpid(child, os.WNOHANG)[0] == 0:
    assert time.monotonic() < end, "the child hangs"
    time.sleep(0.01)
print(*generate(engine).codes.ravel())
"""
END_DURING_A_MOVE = """
import threading
from musicgen.model.native.product import NativeProduct

begun = threading.Event()
move = NativeProduct.move

def move_slowly(product, memory):
    begun.set()
    for _ in range(2000):
        move(product, memory)

NativeProduct.move = move_slowly
loading._MOVE_AFTER_S = 0
engine = load()
assert begun.wait(60)
generate(engine)
print("ends")
"""


@pytest.fixture(scope="module")
def file(checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    return pack_folder(checkpoints("musicgen-small"), "native-int8", folder).path


def _run(script: str, *arguments: str | Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS + script, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("use", ["unused", "used", "busy"])
def test_a_fork_generates_the_same_and_ends(file: Path, use: str) -> None:
    """Servers load before they fork. A fork has none of the threads: it must not wait for them."""
    child, parent = _run(FORK, file, use)
    assert child == parent
    assert len(child.split()) == 80


def test_a_process_can_end_during_a_move(file: Path) -> None:
    assert _run(END_DURING_A_MOVE, file) == ["ends"]
