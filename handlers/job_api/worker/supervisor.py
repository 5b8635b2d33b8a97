"""`musicgen serve all`: the API and its workers as processes of one parent, which starts again
those that die and holds the embedded database for them."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from types import FrameType

from handlers.job_api.store.embedded_postgres import EmbeddedServer
from musicgen.settings.job_api import ApiSettings, environment_with

LOOK_SECONDS = 0.2
PAUSE_SECONDS = (0.2, 0.5, 1, 2)
"""Before a process is started again that has died, the longer the oftener."""
HEALTHY_SECONDS = 10.0
LAST_SECONDS = 30.0
WORKER_NICENESS = 10
"""Of what makes music: where it takes every core, the API and the database still answer at once."""

logger = logging.getLogger(__name__)


@dataclass
class _Child:
    """`variables`: of its environment, beside this process's. `niceness`: above this process's."""

    arguments: list[str]
    variables: dict[str, str] = field(default_factory=dict)
    niceness: int = 0
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    deaths: int = 0
    start_at: float = field(default_factory=time.monotonic)

    def look(self) -> None:
        """Starts it, or again, when it is time."""
        now = time.monotonic()
        if self.process is not None and (status := self.process.poll()) is not None:
            self.deaths = 0 if now - self.started > HEALTHY_SECONDS else self.deaths
            pause = PAUSE_SECONDS[min(self.deaths, len(PAUSE_SECONDS) - 1)]
            logger.warning(
                "%s ended with status %d: again in %g s", self.arguments[1], status, pause
            )
            self.process, self.start_at, self.deaths = None, now + pause, self.deaths + 1
        if self.process is None and now >= self.start_at:
            command = [sys.executable, "-m", "handlers.cli", *self.arguments]
            # A group of its own: Ctrl-C is for the parent, which stops its children in order.
            self.process = subprocess.Popen(
                command, start_new_session=True, env=environment_with(self.variables)
            )
            if self.niceness:
                # Before it has begun any thread: those take after the one that begins them.
                own = os.getpriority(os.PRIO_PROCESS, 0)
                os.setpriority(os.PRIO_PROCESS, self.process.pid, own + self.niceness)
            self.started = now

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> None:
        if self.process is None:
            return
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _port(settings: ApiSettings, number: int) -> dict[str, str]:
    """No two of them can listen on one."""
    if settings.metrics_port is None:
        return {}
    return {"MUSICGEN_METRICS_PORT": str(settings.metrics_port + number)}


def supervise(
    settings: ApiSettings, host: str, port: int, workers: int, *, relay: bool = False
) -> int:
    """Runs until SIGTERM or SIGINT; then the workers finish their jobs before the API goes."""
    database = None if settings.database_url else EmbeddedServer(settings.data_dir)
    api = _Child(["serve", "api", "--host", host, "--port", str(port)])
    parts = ["worker"] * workers + ["relay"] * relay
    makers = [
        _Child(["serve", part], _port(settings, number), WORKER_NICENESS)
        for number, part in enumerate(parts)
    ]
    stopping = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    sys.stderr.write(f"http://{host}:{port} is the page, with its API at /docs\n")
    while not stopping:
        if database is not None:
            database.revive()
        for child in (api, *makers):
            child.look()
        time.sleep(LOOK_SECONDS)
    for child in makers:
        child.stop()
    for child in makers:
        child.wait(settings.drain + LAST_SECONDS)
    api.stop()
    api.wait(LAST_SECONDS)
    return 0
