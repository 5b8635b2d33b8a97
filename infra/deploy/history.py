"""Which release stood where, and what stood there before: one line of JSON for each change.

It is kept on the machine that deploys, in $XDG_STATE_HOME/musicgen/deployments.jsonl; `--to` works
without it.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path


@dataclass(frozen=True)
class Change:
    at: str
    place: str
    before: str | None
    after: str | None


def history_file() -> Path:
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local/state")
    return Path(home) / "musicgen/deployments.jsonl"


def remember(place: str, before: str | None, after: str | None) -> None:
    """One line, appended with a single write, so that two deployments do not mix theirs."""
    change = Change(datetime.now(timezone.utc).isoformat(timespec="seconds"), place, before, after)
    file = history_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    line = (json.dumps(asdict(change)) + "\n").encode()
    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, line)
    finally:
        os.close(handle)


def changes(place: str) -> list[Change]:
    """Of one place, the oldest first."""
    try:
        lines = history_file().read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = [Change(**json.loads(line)) for line in lines if line.strip()]
    return [each for each in found if each.place == place]


def before(place: str, standing: str | None) -> str | None:
    """The release that stood in `place` before the one that stands there now; None for unknown."""
    for change in reversed(changes(place)):
        if change.after == standing and change.before not in (None, standing):
            return change.before
    return None
