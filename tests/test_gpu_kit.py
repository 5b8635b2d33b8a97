"""The kit for a bare GPU machine: its sources, its limits, and steps that fail or take too long."""

from __future__ import annotations

import json
import tarfile
import time
from pathlib import Path

import pytest
import torch

from bench.gpu_kit import OUTPUT_LINES, run, write_sources
from bench.gpu_steps import CALLS, STEPS, build_dry_steps, find_steps
from tests.support import ROOT


def test_sources_hold_what_the_steps_run_and_nothing_compiled(tmp_path: Path) -> None:
    write_sources(tmp_path / "sources.tar.gz")
    with tarfile.open(tmp_path / "sources.tar.gz") as archive:
        names = archive.getnames()
    for _, command in STEPS.values():
        scripts = [part for part in command if part.endswith(".py")]
        assert scripts
        assert set(scripts) <= set(names)
    assert not [name for name in names if name.endswith((".so", ".pyc"))]


@pytest.mark.parametrize("call", CALLS)
def test_a_call_fits_into_one_command_of_a_lent_machine(call: str) -> None:
    """Ten minutes with unpacking, and eight files with kit.json."""
    steps = find_steps([call])
    assert sum(STEPS[name][0] for name in steps) <= 540
    assert len(steps) + 1 <= 8


def test_the_calls_hold_every_step_once() -> None:
    assert sorted(find_steps(list(CALLS))) == sorted(STEPS)
    with pytest.raises(KeyError, match="decode-huge"):
        find_steps(["tests", "decode-huge"])


@pytest.mark.slow
def test_every_step_runs_on_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands that a lent GPU runs, with toy weights: each leaves figures of every part."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("GPU_KIT_WORK", str(tmp_path / "work"))
    steps = build_dry_steps()
    outcomes = run(list(steps), tmp_path, steps)
    assert {outcome["status"] for outcome in outcomes.values()} == {"0"}, outcomes
    for name in steps.keys() - {"tests"}:
        text = (tmp_path / f"{name}.json").read_text()
        assert json.loads(text)["machine"]["torch"] == torch.__version__
        assert '"error"' not in text, f"{name}: {text}"
    assert json.loads((tmp_path / "soak.json").read_text())["outcomes"]["asked"] == 12


def test_a_stopped_step_leaves_no_process(tmp_path: Path) -> None:
    child = "import os, pathlib, sys, time; time.sleep(60)"
    parent = (
        "import pathlib, subprocess, sys; "
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}]); "
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid)); child.wait()"
    )
    run(["hangs"], tmp_path, {"hangs": (3, ["-c", parent])})
    pid = int((tmp_path / "pid").read_text())
    state = Path(f"/proc/{pid}/stat")
    deadline = time.monotonic() + 20
    while state.exists() and state.read_text().rpartition(") ")[2][0] != "Z":
        assert time.monotonic() < deadline, "the step's child still runs"
        time.sleep(0.05)


def test_a_step_that_fails_or_hangs_leaves_its_outcome(tmp_path: Path) -> None:
    steps = {
        "fails": (20, ["-c", "raise SystemExit(3)"]),
        "hangs": (1, ["-c", "import time; time.sleep(60)"]),
        "works": (20, ["-c", "for i in range(100): print('line', i)"]),
    }
    run(list(steps), tmp_path, steps)
    outcomes = json.loads((tmp_path / "kit.json").read_text())
    statuses = [outcomes[name]["status"] for name in steps]
    assert statuses == ["3", "stopped at its limit", "0"]
    assert outcomes["works"]["output"][-1] == "line 99"
    assert len(outcomes["works"]["output"]) == OUTPUT_LINES


def test_output_of_a_stopped_step_is_kept(tmp_path: Path) -> None:
    """Without figures, its last lines tell how far it came."""
    program = "import time; print('half done', flush=True); time.sleep(60)"
    outcome = run(["slow"], tmp_path, {"slow": (3, ["-c", program])})["slow"]
    assert outcome["status"] == "stopped at its limit"
    assert outcome["output"] == ["half done"]
