"""Programs that a deployment runs, in the project's root: asked for something, or run before the
operator's eyes."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence

from infra.check.tools import ROOT, found
from infra.deploy.target import DeployError, Step

ASK_SECONDS = 60


def ask(*command: str, text: str | None = None, fine: Sequence[int] = (0,)) -> tuple[int, str]:
    """Its status and what it wrote: to its standard output where the status is `fine`, to its
    standard error otherwise, or to the other where that is nothing.

    Raises: `DeployError` for a program that is not there, or that does not answer.
    """
    try:
        done = subprocess.run(
            _resolved(command),
            cwd=ROOT,
            input=text,
            capture_output=True,
            text=True,
            timeout=ASK_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise DeployError(f"{shlex.join(command)}: no answer for {ASK_SECONDS} s") from error
    streams = (done.stdout.strip(), done.stderr.strip())
    first, second = streams if done.returncode in fine else reversed(streams)
    return done.returncode, first or second


def answer(*command: str) -> str:
    """What it says. Raises: `DeployError` if it fails."""
    status, said = ask(*command)
    if status:
        raise DeployError(f"{shlex.join(command)}: {said}")
    return said


def step(
    *command: str,
    text: str | None = None,
    fed_by: str = "",
    environment: Mapping[str, str] | None = None,
) -> Step:
    """Runs it with its output shown. `text` goes to its standard input, `fed_by` says whose output
    that is; `environment` is added to this process' own and shown: no secrets there."""
    added = [f"{name}={shlex.quote(value)}" for name, value in (environment or {}).items()]
    told = " ".join([*added, shlex.join(command)])

    def run() -> None:
        done = subprocess.run(
            _resolved(command),
            cwd=ROOT,
            input=text,
            text=True,
            env=os.environ | dict(environment or {}),
        )
        if done.returncode:
            raise DeployError(f"{shlex.join(command)}: status {done.returncode}")

    return Step(f"{fed_by} | {told}" if fed_by else told, run)


def _resolved(command: Sequence[str]) -> list[str]:
    program = found(command[0])
    if program is None:
        raise DeployError(f"there is no `{command[0]}` on the PATH")
    return [program, *command[1:]]
