"""A start: weights read beside the imports, phases in their order, told once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.coldstart.caches import make_cold
from infra.coldstart.trace import BARS, worker_timeline
from musicgen.process import startup
from tests.support import ROOT


def test_phases_come_in_their_order() -> None:
    timeline = worker_timeline("demo", "auto", 0.2)
    assert list(timeline) == [name for name in BARS if name in timeline]
    assert {
        "interpreter",
        "imported",
        "model_loaded",
        "warmed_up",
        "ready",
        "first_audio",
    } <= (timeline.keys())
    assert list(timeline.values()) == sorted(timeline.values())


def test_weights_of_a_packed_file_are_resident_before_the_model_is_built(tmp_path: Path) -> None:
    from musicgen.checkpoints.locate import locate
    from musicgen.checkpoints.pack import pack

    path = pack(locate("demo"), "plain-float32", tmp_path).path
    timeline = list(worker_timeline(str(path), "float32", 0.2))
    assert timeline.index("weights_resident") < timeline.index("model_loaded")


def test_the_age_of_a_process_counts_from_before_the_interpreter() -> None:
    script = "from musicgen.process.startup import process_age; print(process_age())"
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    took = time.monotonic() - began
    # The kernel counts a process's start in hundredths.
    assert 0.005 < float(done.stdout) <= took + 0.02


def test_begin_imports_nothing_that_takes_long_before_weights_are_being_read() -> None:
    script = (
        "import sys; before = set(sys.modules); from musicgen.process import startup; "
        "startup.begin(); print(' '.join(sys.modules.keys() - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "numpy", "httpx", "boto3", "safetensors", "tokenizers", "cog"}


def test_begin_never_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong with the settings is said where the platform shows it."""
    monkeypatch.setenv("MUSICGEN_SLOTS", "none")
    assert startup.begin() is None
    startup.ready()
    monkeypatch.setenv("MUSICGEN_SLOTS", "1")
    monkeypatch.setenv("MUSICGEN_MODEL", "/no/such/folder")
    assert startup.begin() is None
    startup.ready()


def test_prefetching_brings_a_file_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "weights.packed"
    path.write_bytes(os.urandom(3_000_000))
    os.sync()
    make_cold([path])
    if startup.resident_share(path) > 0.5:
        pytest.skip("this file system keeps its files in memory")
    child = startup.prefetch(str(path))
    assert child is not None and child.wait(60) == 0
    assert startup.resident_share(path) == 1.0
    assert startup.prefetch(str(path)) is None, "what is in memory is not read again"


def test_residence_is_that_of_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.packed"
    path.write_bytes(os.urandom(2**20) * 40)
    os.sync()
    make_cold([path])
    if startup.resident_share(path) > 0.5:
        pytest.skip("this file system keeps its files in memory")
    with path.open("rb") as file:
        file.read(2**24)
    assert 0.1 < startup.resident_share(path) < 0.9, "the first 16 MiB of 40 were read"
    path.read_bytes()
    assert startup.resident_share(path) == 1.0


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (["model.safetensors", "pytorch_model.bin", "config.json"], ["model.safetensors"]),
        (["pytorch_model.bin"], ["pytorch_model.bin"]),
        (["a.packed", "model.safetensors"], ["a.packed"]),
        (["a.packed", "b.packed"], []),
        (["config.json"], []),
    ],
)
def test_only_what_will_be_loaded_is_read(
    tmp_path: Path, names: list[str], read: list[str]
) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in startup.find_weights(tmp_path)] == read


def test_the_timeline_is_told_once_and_only_of_a_start() -> None:
    script = """
import json
from musicgen.process import startup
first = startup.first_audio()
startup.begin()
startup.ready()
print(json.dumps([first, list(startup.first_audio()), startup.first_audio()]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    before, told, again = json.loads(done.stdout)
    assert before is None and again is None
    assert told[0] == "interpreter" and told[-1] == "first_audio"


def test_every_module_of_ours_can_be_compiled_ahead(tmp_path: Path) -> None:
    """An image that is made without bytecode compiles all of it at every start."""
    from infra.coldstart.diet import compile_all, without_bytecode

    package = tmp_path / "musicgen"
    package.mkdir()
    for source in (ROOT / "musicgen").glob("*.py"):
        (package / source.name).write_bytes(source.read_bytes())
    assert without_bytecode(tmp_path)
    assert compile_all(tmp_path) == 0
