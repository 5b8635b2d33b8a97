"""What goes elsewhere, and what never does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen.errors import (
    CheckpointCorrupt,
    DeviceFault,
    DiskFull,
    EngineBusy,
    GenerationCancelled,
    InvalidDuration,
    MissingDependency,
    ModelTooLarge,
    NonFiniteLogits,
    OutOfMemory,
    RemoteError,
    SettingsError,
    UnknownModel,
)
from musicgen.remote.policy import goes_elsewhere_first, may_be_made_elsewhere

WAITS = st.one_of(st.none(), st.floats(0, 1e6))


@given(WAITS, st.floats(0, 1e6))
def test_only_overflow_looks_at_the_wait(wait: float | None, limit: float) -> None:
    assert goes_elsewhere_first("remote", wait, limit)
    assert not goes_elsewhere_first("local", wait, limit)
    assert not goes_elsewhere_first("fallback", wait, limit)
    longer = wait is not None and wait > limit
    assert goes_elsewhere_first("overflow", wait, limit) == longer


@pytest.mark.parametrize(
    "error",
    [
        DeviceFault("lost"),
        OutOfMemory("full"),
        EngineBusy("busy"),
        NonFiniteLogits(3, "bfloat16"),
        ModelTooLarge("large", "float32", "cpu", 2, 1),
        CheckpointCorrupt("cut off"),
        MissingDependency("demucs", "a melody", "demucs"),
        MemoryError(),
    ],
)
def test_what_another_machine_may_heal_may_go(error: BaseException) -> None:
    assert may_be_made_elsewhere(error)


@pytest.mark.parametrize(
    "error",
    [
        InvalidDuration("duration", "must be less"),
        UnknownModel.for_choice("model_version", "x", ["demo"]),
        GenerationCancelled("given up"),
        RemoteError("it was elsewhere already"),
        SettingsError("MUSICGEN_DEVICE", "must be cpu"),
        DiskFull("no room for the clip"),
        ZeroDivisionError(),
        KeyboardInterrupt(),
    ],
)
def test_everything_else_stays(error: BaseException) -> None:
    assert not may_be_made_elsewhere(error)
