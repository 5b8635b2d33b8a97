"""History of deployments: one JSON line for each change, with the releases before and after it.

The file is $XDG_STATE_HOME/musicgen/deployments.jsonl on the deploying machine. `--to` does not
need it.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from infra.deploy.target import CheckError


@dataclass(frozen=True)
class Change:
    """One change of the release of a place, at an ISO 8601 time in UTC.

    `failed`: it ended early, so that parts of both releases may be there. `rollback_to`: the
    release that a failed rollback was to bring back.
    """

    at: str
    place: str
    before: str | None
    after: str | None
    failed: bool = False
    rollback_to: str | None = None


def history_file() -> Path:
    """Return the path of the history; the file may be missing."""
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local/state")
    return Path(home) / "musicgen/deployments.jsonl"


def append_change(
    place: str,
    before: str | None,
    after: str | None,
    *,
    failed: bool = False,
    rollback_to: str | None = None,
) -> None:
    """Append one line in a single write, so that concurrent deployments do not mix their lines."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    change = Change(at, place, before, after, failed, rollback_to)
    file = history_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    line = (json.dumps(asdict(change)) + "\n").encode()
    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, line)
    finally:
        os.close(handle)


def read_changes(place: str) -> list[Change]:
    """Return the changes of one place, the oldest first. Raises: `CheckError` for a bad line."""
    try:
        lines = history_file().read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    changes = [_parse(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    return [change for change in changes if change.place == place]


def _parse(number: int, line: str) -> Change:
    try:
        return Change(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise CheckError(
            f"{history_file()}: line {number} is no change of a deployment. "
            "Delete it, or name a release with --to."
        ) from error


def find_failure(place: str, current: str | None) -> Change | None:
    """Return the last change of `place` if it failed and left the current release, else None."""
    try:
        changes = read_changes(place)
    except CheckError:
        # Only a rollback needs every line.
        return None
    if not changes or not changes[-1].failed or changes[-1].after != current:
        return None
    return changes[-1]


def find_previous(place: str, current: str | None) -> str | None:
    """Return the release of `place` before the current one, or None for an unknown one."""
    for change in reversed(read_changes(place)):
        if change.after == current and change.before not in (None, current):
            return change.before
    return None
