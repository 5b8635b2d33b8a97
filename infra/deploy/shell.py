"""Programs run by a deployment, in the project's root, with captured or visible output."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence

from infra.check.tools import ROOT, find_tool
from infra.deploy.target import DeployError, Step

TIMEOUT_SECONDS = 60


def run_command(
    *command: str, text: str | None = None, fine: Sequence[int] = (0,)
) -> tuple[int, str]:
    """Return the exit status and the output of a program.

    The output is the standard output for a `fine` status and the standard error otherwise, or the
    other stream where the first is empty. `text` is the standard input.

    Raises: `DeployError` for a missing program, or for one without an answer in time.
    """
    try:
        done = subprocess.run(
            _resolve(command),
            cwd=ROOT,
            input=text,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise DeployError(f"{shlex.join(command)}: no answer for {TIMEOUT_SECONDS} s") from error
    streams = (done.stdout.strip(), done.stderr.strip())
    first, second = streams if done.returncode in fine else reversed(streams)
    return done.returncode, first or second


def read_output(*command: str) -> str:
    """Return the output of a program. Raises: `DeployError` for a failed one."""
    status, output = run_command(*command)
    if status:
        raise DeployError(f"{shlex.join(command)}: {output}")
    return output


def build_step(
    *command: str,
    text: str | None = None,
    fed_by: str = "",
    environment: Mapping[str, str] | None = None,
) -> Step:
    """Return a step to run a program with visible output.

    `text` is the standard input, and `fed_by` the command that wrote it. `environment` is added to
    the variables of this process and is shown to the operator: no secrets in it.
    """
    added = [f"{name}={shlex.quote(value)}" for name, value in (environment or {}).items()]
    shown = " ".join([*added, shlex.join(command)])

    def run() -> None:
        done = subprocess.run(
            _resolve(command),
            cwd=ROOT,
            input=text,
            text=True,
            env=os.environ | dict(environment or {}),
        )
        if done.returncode:
            raise DeployError(f"{shlex.join(command)} failed with status {done.returncode}")

    return Step(f"{fed_by} | {shown}" if fed_by else shown, run)


def _resolve(command: Sequence[str]) -> list[str]:
    program = find_tool(command[0])
    if program is None:
        raise DeployError(f"`{command[0]}` is not installed: it is not on the PATH")
    return [program, *command[1:]]
