"""Result of a check, and running many checks side by side."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from queue import Empty, Queue
from typing import Literal

from musicgen.errors import MusicGenError

State = Literal["ok", "warning", "error"]
DEADLINE_SECONDS = 4.0
"""Longest time for all checks together."""


@dataclass(frozen=True)
class Finding:
    """Result of one check. `text`: the fact, and what to do about it."""

    check: str
    state: State
    text: str


Check = Callable[[], Iterable[Finding]]


def run_checks(checks: Mapping[str, Check], seconds: float = DEADLINE_SECONDS) -> list[Finding]:
    """Run all checks side by side and return their findings, in the order of `checks`.

    A fault becomes a finding, and so does a check without a result after `seconds`. Its thread may
    still wait for a name service; it does not keep the process from ending.
    """
    results: Queue[tuple[str, list[Finding]]] = Queue()

    def work(name: str, check: Check) -> None:
        results.put((name, _run(name, check)))

    for item in checks.items():
        threading.Thread(target=work, args=item, daemon=True).start()
    found: dict[str, list[Finding]] = {}
    end = time.monotonic() + seconds
    while len(found) < len(checks):
        try:
            name, findings = results.get(timeout=max(0.0, end - time.monotonic()))
        except Empty:
            break
        found[name] = findings
    slow = f"no result within {seconds:g} s. Check the network, the disk and the load."
    ordered = [
        finding for name in checks for finding in found.get(name, [Finding(name, "error", slow)])
    ]
    # Several checks meet the same fault: a wrong device also stops the check of the memory.
    faults: set[str] = set()
    unique = []
    for finding in ordered:
        if finding.state != "error" or finding.text not in faults:
            unique.append(finding)
            faults.add(finding.text)
    return unique


def _run(name: str, check: Check) -> list[Finding]:
    try:
        return list(check())
    except MusicGenError as error:
        return [Finding(name, "error", str(error))]
    except Exception as error:
        return [Finding(name, "error", f"the check failed unexpectedly ({error!r}).")]
