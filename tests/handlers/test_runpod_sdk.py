"""RunPod's SDK is imported without measuring the processor, and with settings it can read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from handlers.runpod_sdk import read_processor_name
from musicgen.settings.runpod import LOG_LEVELS, NUMBERS
from tests.support import ROOT

SCRIPT = """
import cpuinfo, sys
def refused(): raise AssertionError("it was measured")
cpuinfo.get_cpu_info = cpuinfo.cpuinfo.get_cpu_info = refused
import runpod_handler
from runpod.serverless.utils import rp_debugger
print(rp_debugger.PROCESSOR)
"""


def test_the_worker_does_not_wait_for_the_name_of_the_processor() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == read_processor_name(Path("/proc/cpuinfo"))


def test_a_kernel_that_does_not_tell(tmp_path: Path) -> None:
    assert read_processor_name(tmp_path / "none") is None
    (tmp_path / "arm").write_text("processor\t: 0\nBogoMIPS\t: 50.00\n")
    assert read_processor_name(tmp_path / "arm") is None


def _start(**variables: str) -> subprocess.CompletedProcess[str]:
    """Start the handler as a worker of a platform that is not there."""
    code = "import runpod_handler; from runpod import RunPodLogger as log; print(log.level)"
    env = {k: v for k, v in os.environ.items() if not k.startswith("RUNPOD_")} | variables
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"RUNPOD_LOG_LEVEL": "WARNING"}, "RUNPOD_LOG_LEVEL must be one of NOTSET, TRACE, DEBUG, "
         "INFO, WARN, ERROR (was 'WARNING'). Did you mean WARN?"),
        ({"RUNPOD_LOG_LEVEL": "2"}, "RUNPOD_LOG_LEVEL must be one of"),
        ({"RUNPOD_LOG_LEVEL": ""}, "RUNPOD_LOG_LEVEL must be one of"),
        ({"RUNPOD_DEBUG_LEVEL": "verbose"}, "RUNPOD_DEBUG_LEVEL must be one of"),
        *(({name: "soon"}, f"{name} must be {phrase} (was 'soon').")
          for name, (_, phrase) in NUMBERS.items()),
    ],
)  # fmt: skip
def test_a_value_that_the_sdk_cannot_read_is_one_line(variables: dict[str, str], line: str) -> None:
    """The import of the SDK ended in a traceback."""
    ended = _start(**variables)
    assert ended.returncode == 78
    assert ended.stderr.count("\n") == 1 and ended.stderr.startswith(f"invalid_settings: {line}")


@pytest.mark.parametrize("level", ["info", "WARN", "NotSet"])
def test_a_value_that_the_sdk_reads_is_left_alone(level: str) -> None:
    started = _start(RUNPOD_LOG_LEVEL=level, RUNPOD_DEBUG_LEVEL="verbose")
    assert started.returncode == 0, started.stderr
    assert started.stdout.strip() == level.upper()


def test_the_checked_variables_are_those_of_the_sdk() -> None:
    from runpod.serverless.modules import rp_logger

    assert list(LOG_LEVELS) == rp_logger.LOG_LEVELS
    spec = find_spec("runpod.serverless")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent
    text = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    found = re.findall(r"\b(int|float)\(\s*os\.environ\.get\(\s*\"(RUNPOD_\w+)\"", text)
    assert {name: kind for kind, name in found} == {n: k.__name__ for n, (k, _) in NUMBERS.items()}
