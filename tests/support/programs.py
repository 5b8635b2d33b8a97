"""Programs of our own in the place of ones that want a cluster or a daemon: what they know, and
what they were told to change, stands in a file."""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path
from typing import Any

from tests.support import ROOT

# Without `site`: these programs start hundreds of times, and most need the standard library alone.
PROGRAM = """#!{python} -S
import sys
sys.path[:0] = {path!r}
from {module} import main
sys.exit(main({state!r}, sys.argv[1:]))
"""
PATH = [str(ROOT), *sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})]


class Program:
    """An executable `name` in `folder` that calls `main(state file, arguments)` of `module`."""

    def __init__(self, folder: Path, name: str, module: str, **state: Any) -> None:
        self._state, self.path = folder / f"{name}.json", folder / name
        text = PROGRAM.format(
            python=sys.executable, path=PATH, module=module, state=str(self._state)
        )
        self.path.write_text(text)
        self.path.chmod(0o755)
        self._state.write_text(json.dumps(state))

    def read(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self._state.read_text())
        return state

    def change(self, **parts: Any) -> None:
        self._state.write_text(json.dumps(self.read() | parts))
