"""Interface of a deployment target, with its checks and steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol


class DeployError(Exception):
    """Failure of a deployment, with the remedy for the operator."""


class CheckError(DeployError):
    """Failed precondition: nothing was changed."""


@dataclass(frozen=True)
class Check:
    """Result of one precondition. `detail` is the finding, and the remedy for a failed check.

    `is_risky`: the deployment goes on, and its operator should read the detail.
    """

    name: str
    is_met: bool
    detail: str = ""
    is_risky: bool = False


@dataclass(frozen=True)
class Step:
    """One change. `command` is the command or HTTP call in a form to repeat by hand, no secrets."""

    command: str
    run: Callable[[], object]


class Target(Protocol):
    """Place to deploy to.

    A release is a short text with everything that `plan_steps` needs to bring it back: image
    digests, a version, a commit. All methods raise `DeployError`.
    """

    name: str
    """Name of the place in the history."""

    def preflight(self, builds: bool) -> Iterable[Check]:
        """Check the preconditions, without a lasting change: a probe object is deleted again.

        `builds`: this checkout is deployed, and not an earlier release.
        """

    def find_current_release(self) -> str | None:
        """Return the deployed release, or None."""

    def predict_release(self) -> str | None:
        """Return the release of this checkout, or None where only deploying determines it."""

    def preview(self) -> str:
        """Return the changes of `plan_steps(None)` as the platform's own tool shows them, or ""."""

    def plan_steps(self, release: str | None) -> list[Step]:
        """Return the steps to deploy `release`, or this checkout for None."""

    def list_removal(self) -> list[str]:
        """Return the commands that take everything down, to run by hand: afterwards it is free."""
