"""What every target of a deployment answers, and the words for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol


class DeployError(Exception):
    """What the operator has to mend; its text says how."""


@dataclass(frozen=True)
class Check:
    """Something that has to be so before anything is changed. `told` is what was found, and, where
    it is not so, what to do."""

    name: str
    is_met: bool
    told: str = ""


@dataclass(frozen=True)
class Step:
    """`told`: the command or call, as it could be made by hand, without secrets."""

    told: str
    do: Callable[[], object]


class Target(Protocol):
    """A place that a release can be brought to.

    A release is a short text that names all that `steps` needs to bring it back: image digests, a
    version, a commit. All of these raise `DeployError`.
    """

    name: str
    """Of the place, in the history."""

    def preflight(self, builds: bool) -> Iterable[Check]:
        """Changes nothing, bar a probe that it takes away again. `builds`: what is in this checkout
        is to be brought there, and not a release that was there before."""

    def standing(self) -> str | None:
        """The release that is there now; None for none."""

    def wanted(self) -> str | None:
        """The release that `steps(None)` makes; None if that is known only when it is made."""

    def preview(self) -> str:
        """What `steps(None)` would change, as the place's own tool tells it; may be nothing."""

    def steps(self, release: str | None) -> list[Step]:
        """What brings `release` there, or for None what is in this checkout."""
