"""The call of the model server that docs/platforms.md shows, sent by curl as it stands there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import soundfile

from tests.support import ROOT
from tests.support.model_server import start_model_server

PAGE = (ROOT / "docs" / "platforms.md").read_text(encoding="utf-8")
SHOWN = "http://127.0.0.1:8080"


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_call_works_as_written(tmp_path: Path) -> None:
    (command,) = re.findall(rf"`(curl [^`]*{SHOWN}[^`]*)`", PAGE)
    with start_model_server(tmp_path) as server:
        server.wait_until_ready()
        words = shlex.split(command.replace(SHOWN, server.url))
        subprocess.run(words, cwd=tmp_path, check=True)
        assert soundfile.info(tmp_path / "piano.wav").format == "WAV"
        wrong = [word.replace("calm piano", "") for word in words]
        subprocess.run(wrong, cwd=tmp_path, check=True)
    error = json.loads((tmp_path / "piano.wav").read_text())["error"]
    (shown,) = re.findall(r"`\{\"error\": \{([^}]*)\}\}` with the status", PAGE)
    assert {name.strip(' "') for name in shown.split(",")} <= set(error)
