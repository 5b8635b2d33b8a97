"""When a clip is made elsewhere."""

from __future__ import annotations

from musicgen.errors import (
    CheckpointError,
    GenerationCancelled,
    GenerationError,
    MissingDependency,
    ModelTooLarge,
)
from musicgen.settings.remote import Policy

_OF_THIS_MACHINE = (GenerationError, CheckpointError, ModelTooLarge, MissingDependency, MemoryError)


def goes_elsewhere_first(
    policy: Policy, expected_wait_seconds: float | None, limit_seconds: float
) -> bool:
    """Whether a job is made elsewhere before it is tried here.

    `expected_wait_seconds`: until it would begin here, None where nobody knows, which sends nothing
    away. `limit_seconds`: how long overflow lets it wait.
    """
    if policy == "overflow":
        return expected_wait_seconds is not None and expected_wait_seconds > limit_seconds
    return policy == "remote"


def may_be_made_elsewhere(error: BaseException) -> bool:
    """Whether another machine may do what failed here with `error`: one with more memory, other
    weights, another device or less to do. Never what the caller has to mend or has given up, and
    nothing unforeseen, which may fail there as well and cost money."""
    return isinstance(error, _OF_THIS_MACHINE) and not isinstance(error, GenerationCancelled)
