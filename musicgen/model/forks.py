"""Renewal of objects in forked processes, which have no thread of their parent."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_renewals: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()


def call_after_fork(owner: T, renew: Callable[[T], None]) -> None:
    """Call `renew(owner)` in every process forked from now on while `owner` lives.

    `renew`: a function of the class; a method of `owner` would keep it alive.
    """
    _renewals[owner] = renew


def _renew_all() -> None:
    for owner, renew in list(_renewals.items()):
        renew(owner)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
