"""A cancelled job leaves its slot while its input audio is still on the way."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from musicgen.errors import GenerationCancelled
from musicgen.net.fetch import DownloadLimits, download
from tests.support.job_server import data_folder, job_server
from tests.support.silent_server import SilentServer


def test_a_download_ends_when_it_is_cancelled(tmp_path: Path) -> None:
    server, cancelled = SilentServer(), threading.Event()
    threading.Thread(
        target=lambda: (server.wait_for(opened=1), cancelled.set()), daemon=True
    ).start()
    limits, networks = DownloadLimits(seconds=30), ("127.0.0.1/32",)
    with pytest.raises(GenerationCancelled):
        download(server.url, tmp_path / "sound", limits, networks, cancelled)
    assert server.wait_for(closed=1, seconds=5)
    assert not list(tmp_path.iterdir())


def test_a_cancelled_job_frees_its_slot_during_the_fetch() -> None:
    """It held the slot for 60 s: a caller that names slow servers held them all."""
    settings = {"MUSICGEN_SLOTS": 1, "MUSICGEN_INPUT_NETWORKS": "127.0.0.1/32"}
    silent = SilentServer()
    with data_folder() as folder, job_server(folder, **settings) as server:
        slow = server.submit(input_audio=silent.url, continuation=True, duration=2)
        assert silent.wait_for(opened=1)
        began = time.monotonic()
        assert server.http.delete(f"/v1/jobs/{slow}").json()["status"] == "cancelled"
        assert server.ended(server.submit(), 40)["status"] == "completed"
        assert time.monotonic() - began < 40 and silent.wait_for(closed=1, seconds=5)
        assert server.status(slow)["status"] == "cancelled"
