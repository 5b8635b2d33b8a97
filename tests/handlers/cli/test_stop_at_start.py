"""A server that is told to stop while it starts ends, also as the first process of a container."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.job_server import environment, free_port
from tests.support.namespaces import contained, find_contained


@pytest.mark.parametrize("part", ["all", "api", "worker"])
def test_the_first_process_of_a_container_ends_while_it_waits(part: str, tmp_path: Path) -> None:
    """The kernel drops a signal without a handler for it: the worker took jobs afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as database:
        # It takes the connection and never answers.
        url = f"postgresql://me@127.0.0.1:{database.getsockname()[1]}/music"
        env = environment(tmp_path / "data", DATABASE_URL=url)
        options = [] if part == "worker" else ["--port", str(free_port())]
        command = [sys.executable, "-m", "handlers.cli", "serve", part, *options]
        process = subprocess.Popen(contained(command), cwd=ROOT, env=env)
        try:
            database.settimeout(60)
            database.accept()
            find_contained(process).send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()
