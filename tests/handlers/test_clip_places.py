"""The line about the place of the clips is true for each way of calling the model."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support import ROOT

WAYS = {
    "runpod": [
        "runpod_handler.py",
        "--test_input",
        '{"input": {"prompt": "x", "duration": 0.2}}',
    ],
    "hugging face": [
        "-c",
        "from handler import EndpointHandler;"
        "EndpointHandler('')({'inputs': {'prompt': 'x', 'duration': 0.2}})",
    ],
    "modal": ["-c", "from infra.modal.app import load_calls; load_calls('demo').close()"],
}


@pytest.mark.parametrize("way", WAYS)
def test_clips_in_the_answer_are_said_to_be_there(way: str) -> None:
    """The log named a folder that stayed empty."""
    if way == "modal":
        pytest.importorskip("modal")
    env = os.environ | {"MUSICGEN_LOG_LEVEL": "INFO", "PYTHONPATH": str(ROOT)}
    env = {name: value for name, value in env.items() if name != "MUSICGEN_BUCKET"}
    command = [sys.executable, *WAYS[way]]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    log = done.stdout + done.stderr
    assert done.returncode == 0, log
    assert "clips go into the answers: MUSICGEN_BUCKET is not set" in log
    assert "clips go to the folder" not in log
