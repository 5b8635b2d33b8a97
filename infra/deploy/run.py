"""Sequence of a deployment, the same for every target."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from infra.deploy import history
from infra.deploy.interrupted import mark_ended, mark_running, record_interrupted
from infra.deploy.target import Check, CheckError, DeployError, Target


@dataclass(frozen=True)
class DeployOptions:
    """Options of all targets.

    `to`: the release to deploy instead of this checkout. `rollback`: deploy the previous release.
    """

    dry_run: bool = False
    rollback: bool = False
    to: str | None = None


def deploy(target: Target, options: DeployOptions) -> int:
    """Check the preconditions, then show and run the steps.

    Returns: 0 for a deployed release, 2 for a failed check without any change.
    Raises: `CheckError` for a check without an answer, or without a release to go back to;
    `DeployError` for a failed step. The history then has the release from before the change.
    """
    if not _check_all(target, builds=not (options.rollback or options.to)):
        _say(f"Nothing {'would be' if options.dry_run else 'was'} changed.")
        return 2
    if record_interrupted(target.name, target.find_current_release):
        _say(f"{target.name}: the last run did not reach its end; this one takes up what it left.")
    current = target.find_current_release()
    release = _choose_release(target, options, current)
    _say(f"{target.name}: the current release is {current or 'none'}")
    goal = release or target.predict_release()
    is_there = goal is not None and goal == current
    if is_there and history.find_failure(target.name, current) is None:
        _say("This release is already deployed: nothing to do.")
        if options.dry_run:
            _show_removal(target)
        return 0
    if options.dry_run:
        _show(target, release)
        if current is not None:
            _show_removal(target)
        return 0
    return _change(target, current, release, release if options.rollback else None)


def _change(
    target: Target, current: str | None, release: str | None, rollback_to: str | None
) -> int:
    """Run the steps. They also end what a failed change has left."""
    steps = target.plan_steps(release)
    mark_running(target.name, current, rollback_to)
    try:
        for step in steps:
            _say(f"$ {step.command}")
            step.run()
    except BaseException:
        _record_failure(target, current, rollback_to)
        raise
    after = target.find_current_release()
    if after != current or history.find_failure(target.name, current):
        history.append_change(target.name, current, after)
    mark_ended(target.name)
    _say(f"{target.name}: the current release is {after}")
    if current is not None and after != current:
        _say("To go back to the previous release, run the command again with --rollback.")
    _show_removal(target)
    return 0


def _record_failure(target: Target, current: str | None, rollback_to: str | None) -> None:
    """Record a failed change too, because a rollback needs the release from before it.

    The error of the change is the one to show, so an error here only gets a line.
    """
    try:
        after = target.find_current_release()
        history.append_change(target.name, current, after, failed=True, rollback_to=rollback_to)
        mark_ended(target.name)
    except DeployError as error:
        _say(f"The release after the failure is unknown: {error}")
        _say(f"Before the failure it was {current or 'none'}; --to deploys a release by name.")
    _show_removal(target)


def _choose_release(target: Target, options: DeployOptions, current: str | None) -> str | None:
    if options.to or not options.rollback:
        return options.to
    failure = history.find_failure(target.name, current)
    if failure and failure.rollback_to:
        # A second --rollback is to finish the first one, not to undo half of it.
        return failure.rollback_to
    release = history.find_previous(target.name, current)
    if release is None:
        if current is None:
            raise CheckError(f"{target.name}: nothing is deployed, so there is no way back.")
        raise CheckError(
            f"The history of this machine has no release of {target.name} before {current}: "
            "name one with --to"
        )
    return release


def _show(target: Target, release: str | None) -> None:
    if release is None and (changes := target.preview()):
        _say(changes)
    for step in target.plan_steps(release):
        _say(f"would run: {step.command}")


def _show_removal(target: Target) -> None:
    """Show the commands that take the deployment down: nobody should pay for a trial."""
    with contextlib.suppress(DeployError):
        for command in target.list_removal():
            _say(f"To take it down: {command}")


def _check_all(target: Target, builds: bool) -> bool:
    try:
        return show_checks(target.preflight(builds))
    except DeployError as error:
        raise CheckError(str(error)) from error


def show_checks(checks: Iterable[Check]) -> bool:
    """Print each check as it is made, and return whether all are met. `!!` marks a risk."""
    are_met = True
    for check in checks:
        are_met &= check.is_met
        mark = ("!!" if check.is_risky else "ok") if check.is_met else "NO"
        _say(f"{mark:3} {check.name}{': ' if check.detail else ''}{check.detail}")
    return are_met


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
