"""`musicgen serve all`: the API and its workers as child processes of one supervisor.

The supervisor restarts crashed children and keeps the embedded database running for them. It holds
the API's port, so that callers wait while a crashed API starts again. The children end with it,
also if it is killed.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import FrameType

from handlers.job_api.store.database import log_place
from handlers.job_api.store.embedded_postgres import EmbeddedServer
from musicgen.net.listen import bind_sockets, describe_address
from musicgen.settings.job_api import ApiSettings, extend_environment

POLL_SECONDS = 0.2
PAUSE_SECONDS = (0.2, 0.5, 1, 2)
"""Before each restart of a crashed process, the last one from then on."""
HEALTHY_SECONDS = 10.0
STOP_SECONDS = 30.0
WORKER_NICENESS = 10
"""Lower priority of workers: the API and the database answer at once while a worker uses all
cores."""

logger = logging.getLogger(__name__)


@dataclass
class _Child:
    """One child process.

    `variables`: added to the environment of this process. `niceness`: added to its niceness.
    `sockets`: descriptors for the child. `is_asked`: whether it was asked to stop.
    """

    arguments: list[str]
    variables: dict[str, str] = field(default_factory=dict)
    niceness: int = 0
    sockets: tuple[int, ...] = ()
    is_asked: bool = False
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    crashes: int = 0
    is_misconfigured: bool = False
    start_at: float = field(default_factory=time.monotonic)

    def keep_running(self, misconfigured: int) -> None:
        """Start the process if its time has come; schedule a restart if it has ended.

        `misconfigured`: exit status of a start that a restart does not mend.
        """
        now = time.monotonic()
        if self.process is not None and (status := self.process.poll()) is not None:
            # A later start may meet a fault that passes, while the other processes are at work.
            self.is_misconfigured = status == misconfigured and self.crashes == 0
            if self.is_misconfigured:
                return
            self.crashes = 0 if now - self.started_at > HEALTHY_SECONDS else self.crashes
            pause = PAUSE_SECONDS[min(self.crashes, len(PAUSE_SECONDS) - 1)]
            logger.warning(
                "The %s process ended with status %d; restarting it in %g s.",
                *(self.arguments[1], status, pause),
            )
            self.process, self.start_at, self.crashes = None, now + pause, self.crashes + 1
        if self.process is None and now >= self.start_at:
            command = [sys.executable, "-m", "handlers.cli", *self.arguments]
            # In its own session: Ctrl-C reaches only the supervisor, and it stops the children in
            # order.
            # Its standard input ends with this process: see `musicgen.process.parent`.
            self.process = subprocess.Popen(
                [*command, "--supervised"],
                start_new_session=True,
                env=extend_environment(self.variables),
                stdin=subprocess.PIPE,
                pass_fds=self.sockets,
            )
            if self.niceness:
                # Set before the process starts threads, because they inherit it.
                own = os.getpriority(os.PRIO_PROCESS, 0)
                os.setpriority(os.PRIO_PROCESS, self.process.pid, own + self.niceness)
            self.started_at = now

    def stop(self) -> None:
        """Ask the process to stop."""
        self.is_asked = True
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def hurry(self) -> None:
        """Interrupt a process that was asked to stop: it puts back its jobs and ends at once."""
        if self.is_asked and self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def wait(self, seconds: float) -> None:
        """Wait for the end of the process, and kill it after `seconds`."""
        if self.process is None:
            return
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _metrics_port(settings: ApiSettings, number: int) -> dict[str, str]:
    """Return the variables for the metrics port of a child: each needs a port of its own."""
    if settings.metrics_port is None:
        return {}
    return {"MUSICGEN_METRICS_PORT": str(settings.metrics_port + number)}


def _keep_running(
    children: Sequence[_Child], is_stopping: Callable[[], bool], misconfigured: int
) -> int:
    """Run `children` until the end, and return the exit status: 0, or `misconfigured`."""
    while not is_stopping():
        for child in children:
            child.keep_running(misconfigured)
        if any(child.is_misconfigured for child in children):
            return misconfigured
        time.sleep(POLL_SECONDS)
    return 0


def _plan_api(
    settings: ApiSettings, host: str, port: int, sockets: Iterable[socket.socket]
) -> _Child:
    descriptors = tuple(listener.fileno() for listener in sockets)
    arguments = [text for number in descriptors for text in ("--socket", str(number))]
    address = ["--host", host, "--port", str(port)]
    command = ["serve", "api", *address, *arguments]
    return _Child(command, _metrics_port(settings, 0), sockets=descriptors)


def _stop_all(children: Iterable[_Child], seconds: float) -> None:
    """Stop the children together; after `seconds` each is killed."""
    children = list(children)
    for child in children:
        child.stop()
    for child in children:
        child.wait(seconds)


def supervise(
    settings: ApiSettings,
    host: str,
    port: int,
    workers: int,
    *,
    relay: bool = False,
    misconfigured: int,
) -> int:
    """Run the API, `workers` and the relay until SIGTERM or SIGINT, and return the exit status.

    At the end the workers finish their jobs before the API stops. After a second signal they put
    them back at once. If the first start of a process ends with the status `misconfigured`,
    everything ends with it.

    Raises: `SettingsError` for a port in use, `DataFolderError`.
    """
    sockets = bind_sockets(host, port)
    logger.info("%s", describe_address(host, port))
    parts = ["worker"] * workers + ["relay"] * relay
    log_place(settings.database_url, settings.data_dir)
    database = None if settings.database_url else EmbeddedServer(settings.data_dir)
    api = _plan_api(settings, host, port, sockets)
    worker_processes = [
        _Child(["serve", part], _metrics_port(settings, number), WORKER_NICENESS)
        for number, part in enumerate(parts, 1)
    ]
    is_stopping = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal is_stopping
        if is_stopping:
            for child in (*worker_processes, api):
                child.hurry()
        is_stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    status = _keep_running((api, *worker_processes), lambda: is_stopping, misconfigured)
    _stop_all(worker_processes, settings.drain + STOP_SECONDS)
    _stop_all([api], STOP_SECONDS)
    if database is not None:
        database.close()
    return status
