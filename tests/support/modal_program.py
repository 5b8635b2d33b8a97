"""A stand-in for Modal's command line, whose servers need an account: one app and its versions."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.deploy import shell

_PROGRAM = """#!{python}
import json, os, sys
place = {place!r}
state = json.load(open(place))
words = sys.argv[1:]
given = {{k: v for k, v in os.environ.items() if k.startswith("MODAL_APP_")}}
state["calls"].append([words, given])
out, status = "", 0
if words[:2] == ["app", "list"] or words[:2] == ["secret", "list"]:
    out = json.dumps([{{"Name": name}} for name in state["secrets"]])
elif words[:2] == ["app", "history"]:
    if state["versions"]:
        out = json.dumps([{{"Version": v}} for v in reversed(state["versions"])])
    else:
        print("No App with name 'musicgen' found in the 'main' environment.", file=sys.stderr)
        status = 1
elif words[:2] == ["volume", "ls"]:
    out = json.dumps([{{"Filename": name}} for name in state["files"]])
elif words[:2] == ["app", "rollback"] or words[0] == "deploy":
    state["versions"].append(f"v{{len(state['versions']) + 1}}")
elif words[0] == "run":
    state["files"].append(os.environ["MODAL_APP_MODEL"] + ".packed")
json.dump(state, open(place, "w"))
print(out)
sys.exit(status)
"""


class ModalProgram:
    """The program on the PATH of a deployment, and the state behind it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._place = folder / "modal.json"
        self.write({"versions": [], "files": [], "secrets": [], "calls": []})
        program = folder / "modal"
        program.write_text(_PROGRAM.format(python=sys.executable, place=str(self._place)))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(shell, "find_tool", lambda name: str(program))
        for name in ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"):
            monkeypatch.setenv(name, "a-token")
        for name in [name for name in os.environ if name.startswith("MODAL_APP_")]:
            monkeypatch.delenv(name)

    def read(self) -> dict[str, Any]:
        """Return `versions`, `files`, `secrets` and `calls`."""
        state: dict[str, Any] = json.loads(self._place.read_text())
        return state

    def write(self, state: dict[str, Any]) -> None:
        """Replace the state."""
        self._place.write_text(json.dumps(state))

    def list_changes(self) -> list[str]:
        """Return the calls that change something."""
        changing = ("deploy", "run", "app rollback")
        calls = [" ".join(words) for words, _ in self.read()["calls"]]
        return [call for call in calls if call.startswith(changing)]
