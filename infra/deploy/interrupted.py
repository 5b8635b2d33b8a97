"""Deployments that could not record their end: killed, or without an answer from the platform.

A deployment leaves a file beside the history and deletes it once its end is recorded. The next run
of the place finds the file and records a failure.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from infra.deploy.history import append_change, history_file


def mark_running(place: str, before: str | None, rollback_to: str | None) -> None:
    """Write the file about a change of `place`, before its first step."""
    file = _find_file(place)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"before": before, "rollback_to": rollback_to}), encoding="utf-8")


def mark_ended(place: str) -> None:
    """Delete the file."""
    _find_file(place).unlink(missing_ok=True)


def record_interrupted(place: str, find_release: Callable[[], str | None]) -> bool:
    """Record a change without an end as failed. Returns whether there was one.

    `find_release`: finds the current release; its errors pass.
    """
    try:
        left = json.loads(_find_file(place).read_text(encoding="utf-8"))
        before, rollback_to = left["before"], left["rollback_to"]
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, TypeError):
        # Killed while it wrote the file, ahead of the first step.
        mark_ended(place)
        return False
    append_change(place, before, find_release(), failed=True, rollback_to=rollback_to)
    mark_ended(place)
    return True


def _find_file(place: str) -> Path:
    return history_file().parent / "running" / f"{quote(place, safe='')}.json"
