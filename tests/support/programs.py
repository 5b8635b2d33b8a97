"""Programs of our own in the place of ones that want a cluster or a daemon: what they know, and
what they were told to change, stands in a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.support import ROOT

PROGRAM = """#!{python}
import sys
sys.path.insert(0, {root!r})
from {module} import main
sys.exit(main({state!r}, sys.argv[1:]))
"""


class Program:
    """An executable `name` in `folder` that calls `main(state file, arguments)` of `module`."""

    def __init__(self, folder: Path, name: str, module: str, **state: Any) -> None:
        self._state, self.path = folder / f"{name}.json", folder / name
        text = PROGRAM.format(
            python=sys.executable, root=str(ROOT), module=module, state=str(self._state)
        )
        self.path.write_text(text)
        self.path.chmod(0o755)
        self._state.write_text(json.dumps(state))

    def read(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self._state.read_text())
        return state

    def change(self, **parts: Any) -> None:
        self._state.write_text(json.dumps(self.read() | parts))
