"""The native engine under failed allocations and threads, in a build that fails on purpose."""

from __future__ import annotations

import gc
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from ctypes import c_int, c_int64, c_void_p
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from musicgen.engine.interface import EngineOutput, GenerationJob, Row
from musicgen.engine.loading import load_engine
from musicgen.errors import OutOfMemory
from musicgen.model.native.library import DONE, NO_MEMORY, Library
from musicgen.model.native.step_file import declare_functions, find_step_file
from musicgen.request import SamplingParams
from musicgen.settings import Settings
from tests.support import ROOT, engines
from tests.support.packs import pack_folder

FOLDER = ROOT / "musicgen/model/native"
SIGNATURES = {
    "allow_allocations": (None, (c_int64,)),
    "allow_threads": (None, (c_int64,)),
    "count_blocks": (c_int64, ()),
    "fail_in_thread": (c_int, (c_void_p, c_int, c_int)),
}
ALL = -1

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_step_file() is None, reason="the native step was not compiled here"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++"),
]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("build") / "failing.so"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    flags = project["tool"]["setuptools"]["ext-modules"][0]["extra-compile-args"]
    sources = [*sorted(FOLDER.glob("*.cpp")), ROOT / "tests/engine/native_failures.cpp"]
    command = ["g++", *flags, "-O1", f"-I{FOLDER}", "-fPIC", "-shared", "-Wl,-Bsymbolic"]
    subprocess.run([*command, *map(str, sources), "-o", str(out)], check=True, timeout=900)
    return out


@pytest.fixture
def library(build: Path) -> Library:
    """A library of two threads, without its pool."""
    library = Library(build)
    library.threads = 2
    declare_functions(library.functions, SIGNATURES)
    return library


def _count_blocks(library: Library) -> int:
    gc.collect()
    return int(library.functions.count_blocks())


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_any_failed_allocation_is_out_of_memory_and_the_next_job_is_right(
    checkpoints: Callable[[str], Path],
    library: Library,
    precision: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ended the process where it came up inside a thread."""
    monkeypatch.setattr("musicgen.engine.native.loading.load_library", lambda: library)
    pack = tmp_path / "model.pack"
    pack_folder(checkpoints("musicgen-small"), f"native-{precision}", pack)
    engine = load_engine(pack, "musicgen-small", Settings(device="cpu", precision=precision))
    random, config = np.random.default_rng(0), engine.config
    clip = random.normal(0, 0.2, (3 * config.codec.hop_length, config.channels))
    row = Row(engines.PROMPTS[0], 5, SamplingParams(top_k=7, guidance=3.0))
    job = GenerationJob((row,), 6, audio_prompt=clip.astype(np.float32), stream=True)

    def run() -> EngineOutput:
        return engines.run(engine, job)

    failures, blocks = 0, 0
    for allowed in count():
        library.functions.allow_allocations(allowed)
        try:
            found = run()
        except OutOfMemory:
            failures += 1
        else:
            break
        finally:
            library.functions.allow_allocations(ALL)
        wanted = run()
        if allowed == 0:
            blocks = _count_blocks(library)
    assert failures > 200
    np.testing.assert_array_equal(found.codes, wanted.codes)
    np.testing.assert_array_equal(found.pcm[0], wanted.pcm[0])
    assert _count_blocks(library) <= blocks
    engine.close()


@pytest.mark.parametrize("kind", [0, 1, 2], ids=["memory", "length", "other"])
@pytest.mark.parametrize("thread", [0, 1])
def test_a_thread_that_fails_stops_the_others(library: Library, thread: int, kind: int) -> None:
    """An exception of any type; the others would wait at the barrier for ever."""
    for _ in range(20):
        status = library.functions.fail_in_thread(library.pool, thread, kind)
        assert status == (3 if kind == 2 else NO_MEMORY)
    assert library.functions.fail_in_thread(library.pool, 2, kind) == DONE


def test_a_pool_without_threads_says_so_and_leaves_nothing(library: Library) -> None:
    """The first threads ran on, and the end of their objects ended the process."""
    before, library.threads = _count_blocks(library), 4
    for allowed in range(3):
        library.functions.allow_threads(allowed)
        with pytest.raises(RuntimeError, match="no thread more"):
            _ = library.pool
        assert _count_blocks(library) == before
    library.functions.allow_threads(ALL)
    assert library.pool
