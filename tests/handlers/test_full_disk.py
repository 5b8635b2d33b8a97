"""A full or read-only disk beside a working model: an error of its own, and no unexpected one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support import ROOT

LARGE = 300_000
FETCH = """
import resource, sys
from handlers.input_audio import open_input_audio
from musicgen.errors import StorageError

value = sys.argv[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with open_input_audio({"input_audio": bytes(300_000) if value == "bytes" else value},
                          ("127.0.0.0/8",)):
        print("made")
except StorageError as error:
    print(error.code, error)
"""
STREAM = """
import resource, sys
from pathlib import Path
from handlers.cog_run import CogRun, PredictionError
from musicgen.predictor import Predictor
from musicgen.settings import Settings

folder = Path(sys.argv[1])
predictor = Predictor.load(Settings(threads=1, data_dir=folder))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    list(CogRun(predictor, folder).stream({"prompt": "x", "duration": 3}, lambda *_: None))
except PredictionError as error:
    print(error)
"""
WITHOUT_A_DISK = """
mount --make-rprivate / || exit 77
for place in / /tmp /var/tmp; do
    if mountpoint -q $place; then mount -o remount,ro,bind $place || exit 77; fi
done
cd / && exec "$@"
"""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "sound.wav").write_bytes(bytes(LARGE))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/sound.wav"
        server.shutdown()


def _run(script: str, *arguments: str, before: tuple[str, ...] = ()) -> str:
    command = [*before, sys.executable, "-c", script, *arguments]
    env = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
    env["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT, check=False)
    if before and done.returncode in (1, 77) and "Traceback" not in done.stderr:
        pytest.skip(f"the kernel allows no mounts here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", ["bytes", "url"])
def test_an_input_sound_that_finds_no_room_is_a_full_disk(kind: str, url: str) -> None:
    """It was an unexpected error, with a traceback in the log."""
    assert _run(FETCH, "bytes" if kind == "bytes" else url).startswith("disk_full ")


def test_a_piece_of_a_stream_that_finds_no_room_is_a_full_disk(tmp_path: Path) -> None:
    assert "disk_full: " in _run(STREAM, str(tmp_path))


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_a_machine_without_a_place_for_temporary_files_is_told_what_to_set() -> None:
    """A container with a read-only root and no /tmp of its own still serves other requests."""
    before = ("unshare", "--mount", "sh", "-c", WITHOUT_A_DISK, "sh")
    answer = _run(FETCH, "bytes", before=before)
    assert answer.startswith("not_writable ") and "TMPDIR" in answer
