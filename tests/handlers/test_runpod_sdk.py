"""RunPod's SDK is imported without measuring the processor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from handlers.runpod_sdk import read_processor_name
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
