"""Policy: the choice between this machine and the remote deployment."""

from __future__ import annotations

from musicgen.errors import (
    CheckpointError,
    GenerationCancelled,
    GenerationError,
    MissingDependency,
    ModelTooLarge,
)
from musicgen.settings.remote import Policy

_LOCAL_ERRORS = (GenerationError, CheckpointError, ModelTooLarge, MissingDependency, MemoryError)


def goes_elsewhere_first(
    policy: Policy, expected_wait_seconds: float | None, limit_seconds: float
) -> bool:
    """Whether a job goes to the remote deployment without a local attempt.

    `expected_wait_seconds`: time before its local start; None, unknown, keeps it here.
    `limit_seconds`: longest wait under the policy overflow.
    """
    if policy == "overflow":
        return expected_wait_seconds is not None and expected_wait_seconds > limit_seconds
    return policy == "remote"


def may_be_made_elsewhere(error: BaseException) -> bool:
    """Whether a job may succeed on another machine after this error.

    Another machine may have more memory, other weights, another device or a shorter queue. False
    for faults of the request, cancellations, and unforeseen errors: these may fail there too, and
    cost money.
    """
    return isinstance(error, _LOCAL_ERRORS) and not isinstance(error, GenerationCancelled)
