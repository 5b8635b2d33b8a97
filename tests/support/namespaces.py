"""Processes as in a container: in a PID namespace of their own, with a host name of their own."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess

import psutil
import pytest

HOST = "musicgen-0"


def contained(command: list[str]) -> list[str]:
    """Return a command that runs `command` as process 1 of a new container named `HOST`.

    It dies with the process that is started here.
    """
    require_namespaces()
    inner = f'hostname {HOST} && exec "$@"'
    return [*_unshare(), "sh", "-c", inner, "sh", *command]


def find_contained(process: subprocess.Popen[bytes]) -> psutil.Process:
    """Return process 1 of the container that `process` has started."""
    return psutil.Process(process.pid).children()[0]


def require_namespaces() -> None:
    """Skip the test if the kernel allows no namespaces here."""
    if not _may_unshare():
        pytest.skip("the kernel allows no PID namespaces here")


@functools.cache
def _may_unshare() -> bool:
    if shutil.which("unshare") is None or shutil.which("hostname") is None:
        return False
    return subprocess.run([*_unshare(), "hostname", HOST], capture_output=True).returncode == 0


def _unshare() -> list[str]:
    user = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--pid", "--fork", "--uts", "--kill-child"]
