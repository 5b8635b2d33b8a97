"""Runners of decode steps: eager, or as CUDA graphs over all slots."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Protocol

import torch

from musicgen.engine.pytorch.cuda.capture import GraphCache, select_device
from musicgen.engine.pytorch.cuda.slots import RowSlots, StepShape
from musicgen.engine.pytorch.decode_state import DecodeState, step_batch
from musicgen.engine.pytorch.sampling import SamplerFeatures
from musicgen.model.upload import upload

# Shapes are rounded up to these values, so few graphs serve all batches.
LENGTH_BUCKET, MIN_TOKENS, COMMON_TOP_K = 256, 16, 256
MAX_STEPS_IN_FLIGHT = 2
"""Steps queued on the GPU. Prefills, streams and checks queue behind them; two hide the launch."""


class StepRunner(Protocol):
    """Runner of decode steps.

    A job's thread calls `admit` and `release`, the decode thread calls `step`.
    """

    @property
    def slots(self) -> RowSlots | None:
        """Slots available to decode states, or None."""
        ...

    def admit(self, state: DecodeState) -> None:
        """Prepare a prefilled state for its first step."""
        ...

    def step(self, states: Sequence[DecodeState]) -> None:
        """Run one step of each state."""
        ...

    def release(self, state: DecodeState) -> None:
        """Release the memory of a state."""
        ...


class EagerRunner:
    """Runner without slots: each job keeps its own KV cache."""

    slots = None

    def admit(self, state: DecodeState) -> None:
        """Do nothing: the state has its own memory."""

    def step(self, states: Sequence[DecodeState]) -> None:
        """Run one step of each state in one forward pass."""
        step_batch(states)

    def release(self, state: DecodeState) -> None:
        """Do nothing: the memory is freed with the state."""


class StepsInFlight:
    """Limit of the steps queued on a GPU.

    Launching a step takes far less time than running it. Without a limit the decode thread queues
    as many steps as a job may be ahead of its caller, and each copy of a new job's prefill waits
    for all of them.
    """

    def __init__(self, limit: int = MAX_STEPS_IN_FLIGHT) -> None:
        self._limit = limit
        self._waits: deque[Callable[[], object]] = deque()

    def wait(self) -> None:
        """Wait until one more step may be queued."""
        while len(self._waits) >= self._limit:
            self._waits.popleft()()

    def add(self, wait: Callable[[], object]) -> None:
        """Add a queued step; `wait` returns at its end."""
        self._waits.append(wait)


class SlotRunner:
    """Runner of jobs in `slots`. A job too large for the slots is decoded eagerly.

    `capture`: run steps as CUDA graphs (`GraphCache`), captured when a shape first occurs.
    """

    def __init__(self, slots: RowSlots, *, capture: bool) -> None:
        self.slots = slots
        self.graphs: GraphCache[StepShape] = GraphCache("decode step", enabled=capture)
        self._lock = threading.Lock()
        self._rows: dict[DecodeState, tuple[int, ...]] = {}
        self._active: frozenset[int] = frozenset()
        self._device = slots.sequence.device
        self._in_flight = StepsInFlight()

    @torch.inference_mode()
    def admit(self, state: DecodeState) -> None:
        """Move a state into free slots if it fits."""
        if not state.fits_slots:
            return
        with self._lock:
            used = {row for rows in self._rows.values() for row in rows}
            free = [row for row in range(self.slots.rows) if row not in used]
            rows = tuple(free[: state.rows])
            state.lease = self.slots.admit(state, rows)
            self._rows[state] = rows

    @torch.inference_mode()
    def step(self, states: Sequence[DecodeState]) -> None:
        """Run one step of each state, in slots or eagerly."""
        if self._device.type == "cuda":
            self._in_flight.wait()
        with self._lock, select_device(self._device):
            running = [state for state in states if state in self._rows]
            if running:
                self._set_active(frozenset(row for s in running for row in self._rows[s]))
                shape = self._choose_shape(running)
                self.graphs.run(shape, partial(self.slots.step, shape), self._pause)
                for state in running:
                    state.steps_done += 1
        others = [state for state in states if not state.fits_slots]
        if others:
            step_batch(others)
        if self._device.type == "cuda":
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(torch.cuda.current_stream(self._device))
            self._in_flight.add(event.synchronize)

    def release(self, state: DecodeState) -> None:
        """Free the slots of a state."""
        with self._lock:
            self._rows.pop(state, None)

    def _set_active(self, rows: frozenset[int]) -> None:
        if rows != self._active:
            mask = [row in rows for row in range(self.slots.rows)]
            self.slots.active.copy_(upload(mask, self._device, torch.bool))
            self._active = rows

    def _choose_shape(self, states: Sequence[DecodeState]) -> StepShape:
        """Return the rounded shape of a step.

        Paused rows count too, because the step runs over their slots as well.
        """
        slots, admitted = self.slots, list(self._rows)
        features = [state.sampler_features for state in states]
        longest = max(state.cache.length + state.steps_done + 1 for state in admitted)
        tokens = max(
            (s.conditioning.cross.keys.shape[3] for s in admitted if s.conditioning.cross),
            default=1,
        )
        return StepShape(
            rows=min(
                _round_to_power_of_two(1 + max(max(rows) for rows in self._rows.values())),
                slots.rows,
            ),
            length=slots.round_length(longest, LENGTH_BUCKET),
            tokens=min(max(_round_to_power_of_two(tokens), MIN_TOKENS), slots.tokens),
            features=SamplerFeatures(
                random=any(part.random for part in features),
                largest_k=_round_top_k(
                    max(part.largest_k for part in features), slots.logits.shape[2]
                ),
                top_p=any(part.top_p for part in features),
            ),
        )

    @contextmanager
    def _pause(self) -> Iterator[None]:
        """Have no row active, so the warm-up and the capture of a step change no state."""
        active = self.slots.active.clone()
        self.slots.active.zero_()
        try:
            yield
        finally:
            self.slots.active.copy_(active)


def _round_to_power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _round_top_k(largest: int, vocabulary: int) -> int:
    """Round up to the common default or the vocabulary; 0 stays "top_k unused"."""
    if largest == 0:
        return 0
    return min(COMMON_TOP_K, vocabulary) if largest <= COMMON_TOP_K else vocabulary
