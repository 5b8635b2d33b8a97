"""Jobs decoded together, joining and leaving at any step."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen import errors
from musicgen.engine.batch import MAX_STEPS_AHEAD
from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.interface import GenerationJob, Row
from musicgen.engine.pytorch.cuda import graphs
from musicgen.engine.pytorch.decode_state import DecodeState
from musicgen.engine.pytorch.loading import build_engine
from musicgen.request import SamplingParams
from tests.support import engines

SAMPLED = SamplingParams(temperature=1.0, top_k=30, guidance=3.0)
NEAR_TIE = 1e-4
DEADLINE = 60.0

ARRIVALS = st.lists(
    st.fixed_dictionaries(
        {
            "prompt": st.sampled_from([*engines.PROMPTS, "", "bells"]),
            "seed": st.integers(0, 2**32 - 1),
            "frames": st.integers(4, 40),
            "clips": st.integers(1, 3),
            "guidance": st.sampled_from([1.0, 3.0]),
            "after_ms": st.integers(0, 60),
            "cancelled_at": st.one_of(st.none(), st.integers(1, 3)),
            "stream": st.booleans(),
        }
    ),
    min_size=2,
    max_size=6,
)


def _job(arrival: dict[str, Any], temperature: float) -> GenerationJob:
    sampling = SamplingParams(temperature, 20, 0.0, arrival["guidance"])
    rows = tuple(
        Row(arrival["prompt"], (arrival["seed"] + i) % 2**32, sampling)
        for i in range(arrival["clips"])
    )
    return GenerationJob(rows, arrival["frames"], stream=arrival["stream"])


def _arrive(engine: MusicGenEngine, arrival: dict[str, Any], job: GenerationJob) -> Any:
    """Return the codes of the job, or None if it was cancelled."""
    time.sleep(arrival["after_ms"] / 1000)
    steps = engine.generate(job)
    for _ in range(arrival["cancelled_at"] or 10**9):
        try:
            next(steps)
        except StopIteration as finished:
            return finished.value.codes
    steps.close()
    return None


def _together(
    engine: MusicGenEngine, arrivals: list[dict[str, Any]], jobs: list[GenerationJob]
) -> list[Any]:
    with ThreadPoolExecutor(len(jobs)) as callers:
        waiting = [
            callers.submit(_arrive, engine, arrival, job)
            for arrival, job in zip(arrivals, jobs, strict=True)
        ]
        return [each.result(DEADLINE) for each in waiting]


@settings(max_examples=15, deadline=None)
@given(arrivals=ARRIVALS, name=st.sampled_from(["musicgen-small", "musicgen-stereo-melody"]))
def test_a_job_in_a_changing_batch_makes_the_bits_that_it_makes_alone(
    checkpoints: Callable[[str], Path], arrivals: list[dict[str, Any]], name: str
) -> None:
    """In int8 to the last bit, because integer sums do not depend on the batch."""
    engine = engines.engine(checkpoints(name), "int8")
    jobs = [_job(arrival, 1.0) for arrival in arrivals]
    for found, job in zip(_together(engine, arrivals, jobs), jobs, strict=True):
        if found is not None:
            np.testing.assert_array_equal(found, engines.run(engine, job).codes)


@settings(max_examples=15, deadline=None)
@given(arrivals=ARRIVALS, name=st.sampled_from(["musicgen-small", "three-codebooks"]))
@engines.BOTH_FORMS
def test_greedy_tokens_in_a_changing_batch_are_those_alone_but_for_ties(
    checkpoints: Callable[[str], Path], arrivals: list[dict[str, Any]], name: str, compiled: bool
) -> None:
    engine = engines.engine(checkpoints(name), compiled=compiled)
    jobs = [_job(arrival, 0.0) for arrival in arrivals]
    for found, job in zip(_together(engine, arrivals, jobs), jobs, strict=True):
        if found is None:
            continue
        alone = engines.run(engine, job).codes
        for row in range(len(job.rows)):
            if not np.array_equal(found[row], alone[row]):
                assert _gap_where_they_part(engine, job, row, found[row]) < NEAR_TIE


def _gap_where_they_part(
    engine: MusicGenEngine, job: GenerationJob, row: int, found: np.ndarray
) -> float:
    """Return the gap of the two best logits where `found` first differs from the job alone."""
    state = engines.decode_state(engine, job)
    with torch.inference_mode():
        while True:
            best = state.apply_guidance()[row].topk(2).values
            state.step()
            codes = state.read_codes()[row].numpy()
            differs = codes != found[:, : codes.shape[1]]
            if differs.any():
                book = int(np.flatnonzero(differs.any(axis=1))[0])
                return float(best[book, 0] - best[book, 1])


def _engine(folder: Path, **limits: int) -> MusicGenEngine:
    known = engines.engine(folder)
    return build_engine(
        engines.model_of(known), engines.backend_of(known).tokenize, "float32", **limits
    )


def _run_in(callers: ThreadPoolExecutor, engine: MusicGenEngine, job: GenerationJob) -> Future[Any]:
    return callers.submit(engines.run, engine, job)


def _wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def _is_idle(engine: MusicGenEngine) -> bool:
    return not engine._batch._is_running


def _row(seed: int = 1) -> Row:
    return Row("piano", seed, SAMPLED)


def test_a_job_that_fails_does_not_hurt_its_neighbours(
    checkpoints: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = _engine(checkpoints("musicgen-small"))
    good = [GenerationJob((_row(seed),), 30) for seed in (1, 2)]
    expected = [engines.run(engine, job).codes for job in good]
    embed_column = DecodeState.embed_column

    def fail_at_step_5(state: DecodeState, column: torch.Tensor) -> torch.Tensor:
        if state.total_steps == 23 and state.steps_done == 5:
            raise RuntimeError("this one job")
        return embed_column(state, column)

    monkeypatch.setattr(DecodeState, "embed_column", fail_at_step_5)
    with ThreadPoolExecutor(3) as callers:
        bad = _run_in(callers, engine, GenerationJob((_row(),), 20))
        found = [_run_in(callers, engine, job) for job in good]
        with pytest.raises(RuntimeError, match="this one job"):
            bad.result(DEADLINE)
        for each, codes in zip(found, expected, strict=True):
            np.testing.assert_array_equal(each.result(DEADLINE).codes, codes)


def test_a_device_fault_ends_every_job_with_a_typed_error(
    checkpoints: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queued jobs too, because the device will not recover."""
    engine = _engine(checkpoints("musicgen-small"), rows=4)
    step = graphs.step_batch

    def fail(states: list[DecodeState]) -> None:
        step(states)
        if engine._batch._scheduler.queue_length == 2:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(graphs, "step_batch", fail)
    with ThreadPoolExecutor(4) as callers:
        running = [_run_in(callers, engine, GenerationJob((_row(s),), 400)) for s in range(4)]
        for each in running:
            with pytest.raises(errors.DeviceFault, match="Restart the worker"):
                each.result(DEADLINE)
    assert len({id(each.exception()) for each in running}) == 4


def test_who_waits_is_told_so_and_may_give_up(checkpoints: Callable[[str], Path]) -> None:
    engine = _engine(checkpoints("musicgen-small"), rows=2, max_waiting=1)
    first = engine.generate(GenerationJob((_row(),), 30))
    next(first)
    second = engine.generate(GenerationJob((_row(),), 30))
    assert next(second).done == 0
    with pytest.raises(errors.EngineBusy, match=r"The queue is full \(1 request\)"):
        next(engine.generate(GenerationJob((_row(),), 30)))
    second.close()
    third = engine.generate(GenerationJob((_row(3),), 5))
    assert next(third).done == 0
    first.close()
    assert [progress.done for progress in third][-1] == 8


def test_a_job_larger_than_the_batch_runs_alone(checkpoints: Callable[[str], Path]) -> None:
    engine = _engine(checkpoints("musicgen-small"), rows=2)
    job = GenerationJob(tuple(_row(seed) for seed in range(3)), 10)
    expected = engines.run(engines.engine(checkpoints("musicgen-small")), job).codes
    np.testing.assert_array_equal(engines.run(engine, job).codes, expected)


def test_a_slow_reader_pauses_only_itself(checkpoints: Callable[[str], Path]) -> None:
    engine = _engine(checkpoints("musicgen-small"))
    slow_job, job = (GenerationJob((_row(seed),), 120) for seed in (1, 2))
    expected = [engines.run(engine, each).codes for each in (slow_job, job)]
    slow = engine.generate(slow_job)
    seen = next(slow).done
    np.testing.assert_array_equal(engines.run(engine, job).codes, expected[1])
    (ticket,) = engine._batch._scheduler.active
    assert ticket.steps_done == seen + MAX_STEPS_AHEAD
    with pytest.raises(StopIteration) as finished:
        while True:
            next(slow)
    np.testing.assert_array_equal(finished.value.value.codes, expected[0])


def test_no_thread_outlives_the_jobs(checkpoints: Callable[[str], Path]) -> None:
    """Also after a cancelled job, and for an engine never closed."""
    before = threading.active_count()
    engine = _engine(checkpoints("musicgen-small"))
    engines.run(engine, GenerationJob((_row(),), 10))
    left = engine.generate(GenerationJob((_row(),), 500))
    next(left)
    left.close()
    _wait_until(partial(_is_idle, engine))
    assert engine._batch._scheduler.active_rows == 0
    del engine, left
    gc.collect()
    _wait_until(lambda: threading.active_count() <= before)


def test_closing_the_engine_ends_running_jobs_with_an_error(
    checkpoints: Callable[[str], Path],
) -> None:
    engine = _engine(checkpoints("musicgen-small"), rows=2)
    running, waiting = (engine.generate(GenerationJob((_row(),), 500)) for _ in range(2))
    next(running)
    next(waiting)
    engine.close()
    for job in (running, waiting):
        with pytest.raises(RuntimeError, match="closed"):
            for _ in job:
                pass
