"""A `docker` with a compose project in a file: the real one wants a daemon and its plugin."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from infra.compose.compose_file import ComposeError, substitute
from tests.support.programs import Program


class Docker(Program):
    def __init__(self, folder: Path) -> None:
        state = {"runtimes": ["runc", "nvidia"], "running": {}, "ups": 0, "env": {}}
        super().__init__(folder, "docker", __name__, **state)


def main(path: str, arguments: Sequence[str]) -> int:
    file = Path(path)
    state = json.loads(file.read_text())
    if arguments[0] == "info":
        if not state["runtimes"]:
            _say("Cannot connect to the Docker daemon")
            return 1
        _say(json.dumps({name: {} for name in state["runtimes"]}))
        return 0
    compose = yaml.safe_load(Path(arguments[arguments.index("-f") + 1]).read_text())
    env = state["env"] | {k: v for k, v in os.environ.items() if k.endswith("_IMAGE")}
    try:
        images = {n: substitute(each["image"], env) for n, each in compose["services"].items()}
    except ComposeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if "config" in arguments and "json" in arguments:
        environment = {n: substitute(v, env) for n, v in _worker(compose).items()}
        _say(json.dumps({"services": {"worker": {"environment": environment}}}))
    elif "ps" in arguments:
        for service, image in state["running"].items():
            _say(json.dumps({"Service": service, "Image": image}))
    elif "up" in arguments and "--dry-run" not in arguments:
        state |= {"running": {n: images[n] for n in ("api", "worker")}, "ups": state["ups"] + 1}
        file.write_text(json.dumps(state))
    elif "up" in arguments:
        _say("DRY-RUN MODE - Container would be started")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _worker(compose: dict[str, Any]) -> dict[str, str]:
    environment: dict[str, str] = compose["services"]["worker"]["environment"]
    return {name: value for name, value in environment.items() if isinstance(value, str)}
