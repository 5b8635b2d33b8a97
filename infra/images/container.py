"""One container of runc: its specification from a service of the compose file, and its life.

It has process, network, mount, IPC and host name namespaces of its own. Its identity stays at a
restart, as with Docker: the same host name, and its first process is number 1.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.images.build import Image
from infra.images.places import ImageError, run

_UNITS = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_MASKED = ("/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware")
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_DEVICES = (
    *(("/dev/null", 1, 3), ("/dev/zero", 1, 5), ("/dev/full", 1, 7)),
    *(("/dev/random", 1, 8), ("/dev/urandom", 1, 9), ("/dev/tty", 5, 0)),
)


def parse_bytes(text: str) -> int:
    """Return the bytes of a text such as `1g`."""
    match = re.fullmatch(r"(\d+)([bkmg]?)b?", text.lower())
    if match is None:
        raise ImageError(f"{text!r} is not a size. The form is a number with b, k, m or g.")
    return int(match[1]) * _UNITS[match[2] or "b"]


def find_user(root: Path, text: str) -> tuple[tuple[int, int], str]:
    """Return the numbers and the home of a user such as `999:999` or `postgres`."""
    name, _, group = text.partition(":")
    for line in (root / "etc/passwd").read_text().splitlines():
        login, _, uid, gid, _, home, _ = line.split(":")
        if (name or "0") in (login, uid):
            return (int(uid), int(group or gid)), home
    return (int(name), int(group or 0)), "/"


@dataclass
class Container:
    """One service: its image, its command, and its current process."""

    id: str
    image: Image
    bundle: Path
    command: Sequence[str]
    environment: Mapping[str, str]
    user: tuple[int, int]
    mounts: Sequence[Mapping[str, Any]]
    network: str
    read_only: bool
    memory: int | None
    test: Sequence[str]
    restarts: bool
    stop_signal: str
    starts: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """File with all output of all starts."""
        return self.bundle / "log"

    def start(self) -> None:
        """Start the container, a new one with the same identity."""
        self.bundle.mkdir(parents=True, exist_ok=True)
        (self.bundle / "config.json").write_text(json.dumps(self._specification()))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["runc", "run", "--bundle", str(self.bundle), self.id],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts += 1

    def is_running(self) -> bool:
        """Whether the container's process is alive."""
        return self.process is not None and self.process.poll() is None

    def signal(self, name: str) -> None:
        """Send a signal to process 1."""
        run("runc", "kill", self.id, name)

    def kill(self) -> None:
        """Kill all processes with SIGKILL, as a machine without memory does."""
        assert self.process is not None, "the container was started"
        with contextlib.suppress(ImageError):
            self.signal("KILL")
        self.process.wait(30)

    def stop(self, seconds: float) -> None:
        """Stop the container, and kill it after `seconds`."""
        if self.process is None or not self.is_running():
            return
        with contextlib.suppress(ImageError):
            self.signal(self.stop_signal.removeprefix("SIG"))
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def execute(self, *command: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command in the running container, as its user."""
        return subprocess.run(
            ["runc", "exec", self.id, *command],
            capture_output=True,
            text=True,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
        )

    def is_healthy(self) -> bool:
        """Run the health check in the container."""
        if not self.is_running():
            return False
        try:
            return self.execute(*self.test, seconds=10).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def remove(self) -> None:
        """Kill the container and remove its bundle."""
        if self.is_running():
            self.kill()
        with contextlib.suppress(ImageError):
            run("runc", "delete", "--force", self.id)
        shutil.rmtree(self.bundle, ignore_errors=True)

    def wait(self, seconds: float) -> None:
        """Wait for the end of the process. Raises: `ImageError` after `seconds`."""
        end = time.monotonic() + seconds
        while self.is_running():
            if time.monotonic() > end:
                raise ImageError(f"{self.id} still runs after {seconds:.0f} s.")
            time.sleep(0.05)

    def _specification(self) -> dict[str, Any]:
        uid, gid = self.user
        namespaces = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
        resources: dict[str, Any] = {"devices": [{"allow": False, "access": "rwm"}]}
        resources["devices"] += [
            {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
            for _, major, minor in _DEVICES
        ]
        if self.memory is not None:
            resources["memory"] = {"limit": self.memory}
        return {
            "ociVersion": "1.0.2",
            "hostname": self.id,
            "root": {"path": str(self.image.root), "readonly": self.read_only},
            "process": {
                "args": list(self.command),
                "cwd": self.image.config.get("WorkingDir") or "/",
                "env": [f"{name}={value}" for name, value in self.environment.items()],
                "user": {"uid": uid, "gid": gid},
                "capabilities": {},
                "noNewPrivileges": True,
            },
            "mounts": [*_system_mounts(), *self.mounts],
            "linux": {
                "namespaces": [*namespaces, {"type": "network", "path": self.network}],
                "resources": resources,
                "maskedPaths": list(_MASKED),
                "readonlyPaths": list(_READ_ONLY),
                "cgroupsPath": f"/{self.id}",
            },
        }


def _system_mounts() -> list[dict[str, Any]]:
    closed = ["nosuid", "noexec", "nodev"]

    def mount(place: str, kind: str, *options: str) -> dict[str, Any]:
        return {"destination": place, "type": kind, "source": kind, "options": [*closed, *options]}

    return [
        mount("/proc", "proc"),
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        mount("/dev/pts", "devpts", "newinstance", "ptmxmode=0666", "mode=0620"),
        mount("/dev/shm", "tmpfs", "mode=1777", "size=64m"),
        mount("/dev/mqueue", "mqueue"),
        mount("/sys", "sysfs", "ro"),
        mount("/sys/fs/cgroup", "cgroup", "ro"),
    ]
