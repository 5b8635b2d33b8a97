"""A `cog` on the PATH that writes down what it is asked: Cog itself needs Docker."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.replicate.openapi_schema import COG_VERSION

FAKE = """#!{python}
import json, os, sys
from pathlib import Path
if sys.argv[1:] == ["--version"]:
    print({version!r})
    sys.exit(0)
here = Path.cwd()
entry = dict(
    argv=sys.argv[1:],
    stdin="" if sys.argv[1] == "push" else sys.stdin.read(),
    environment=dict(os.environ),
    files=sorted(str(path.relative_to(here)) for path in here.rglob("*") if path.is_file()),
)
if sys.argv[1] == "push":
    entry["config"] = Path("cog.yaml").read_text()
    entry["schema"] = Path(os.environ["COG_OPENAPI_SCHEMA"]).read_text()
    entry["folder"] = str(here)
else:
    del entry["files"]
with open({calls!r}, "a") as file:
    file.write(json.dumps(entry) + "\\n")
sys.exit(1 if sys.argv[1] == {fails!r} else 0)
"""


class Cog:
    """The fake command line and what it was asked."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._calls, self._program = folder / "calls", folder / "bin" / "cog"
        self._program.parent.mkdir()
        self.install()
        monkeypatch.setenv("PATH", f"{self._program.parent}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.delenv("REPLICATE_API_TOKEN", raising=False)

    def install(
        self, version: str = f"cog version {COG_VERSION} (built x)", fails: str = ""
    ) -> None:
        self._program.write_text(
            FAKE.format(python=sys.executable, version=version, calls=str(self._calls), fails=fails)
        )
        self._program.chmod(0o755)

    def remove(self) -> None:
        self._program.unlink()

    def calls(self) -> list[dict[str, Any]]:
        if not self._calls.exists():
            return []
        return [json.loads(line) for line in self._calls.read_text().splitlines()]
