"""The course of a deployment, the same for every target."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass

from infra.deploy import history
from infra.deploy.target import Check, DeployError, Target


@dataclass(frozen=True)
class Wish:
    """`to`: this release instead of the checkout. `rollback`: the one that stood there before."""

    dry_run: bool = False
    rollback: bool = False
    to: str | None = None


def deploy(target: Target, wish: Wish) -> int:
    """Checks, shows and does it. Returns 0 when the release stands, 2 when nothing was changed
    because a check failed. Raises: `DeployError`; then the history tells what stood before."""
    if not _all_met(target.preflight(builds=not (wish.rollback or wish.to))):
        _say(f"Nothing {'would be' if wish.dry_run else 'was'} changed.")
        return 2
    standing = target.standing()
    release = _release(target, wish, standing)
    _say(f"{target.name}: {standing or 'nothing yet'} stands there")
    goal = release or target.wanted()
    if goal is not None and goal == standing:
        _say("That is what is wanted: nothing to do.")
        return 0
    if wish.dry_run:
        return _show(target, release)
    return _change(target, standing, release)


def _change(target: Target, standing: str | None, release: str | None) -> int:
    try:
        for step in target.steps(release):
            _say(f"$ {step.told}")
            step.do()
    finally:
        # Also of half a change: the way back has to be known.
        after = target.standing()
        if after != standing:
            history.remember(target.name, standing, after)
    _say(f"{target.name}: {after} stands there")
    if standing is not None and after != standing:
        _say("--rollback brings the one before back.")
    return 0


def _release(target: Target, wish: Wish, standing: str | None) -> str | None:
    if not wish.rollback:
        return wish.to
    found = wish.to or history.before(target.name, standing)
    if found is None:
        raise DeployError(
            f"this machine does not know what stood in {target.name} before {standing}: "
            "name it with --to"
        )
    return found


def _show(target: Target, release: str | None) -> int:
    if release is None and (changes := target.preview()):
        _say(changes)
    for step in target.steps(release):
        _say(f"would run: {step.told}")
    return 0


def _all_met(checks: Iterable[Check]) -> bool:
    is_fine = True
    for check in checks:
        is_fine &= check.is_met
        mark = "ok" if check.is_met else "NO"
        _say(f"{mark:3} {check.name}{': ' if check.told else ''}{check.told}")
    return is_fine


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
