"""Decoding in slots, as on a GPU, run on a CPU: each job gives the same tokens as alone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen import errors
from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.interface import GenerationJob, Row
from musicgen.engine.pytorch.cuda.graphs import SlotRunner, StepsInFlight
from musicgen.engine.pytorch.cuda.slots import RowSlots, StepShape
from musicgen.engine.pytorch.loading import build_engine
from musicgen.engine.pytorch.sampling import SamplerFeatures
from musicgen.model.config import MusicGenConfig
from musicgen.model.decoder import Decoder
from musicgen.request import SamplingParams
from tests.engine.test_batch import ARRIVALS, NEAR_TIE, _gap_where_they_part, _job, _together
from tests.support import engines
from tests.support.checkpoints import FAMILIES

CAPACITY, TOKENS = 300, 24
SAMPLED = SamplingParams(temperature=1.0, top_k=30, guidance=3.0)


def _load_layers(folder: Path) -> MusicGenEngine:
    """Load the engine that runs layer by layer, as on a GPU."""
    return engines.engine(folder, compiled=False)


def _in_slots(folder: Path, rows: int = 16, *, capture: bool = False) -> MusicGenEngine:
    known = _load_layers(folder)
    model = engines.model_of(known)
    runner = SlotRunner(RowSlots(model.decoder, rows, CAPACITY, TOKENS), capture=capture)
    return build_engine(
        model, engines.backend_of(known).tokenize, "float32", rows=rows, runner=runner
    )


def _slots(engine: MusicGenEngine) -> RowSlots:
    slots = engines.backend_of(engine).runner.slots
    assert slots is not None
    return slots


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("sampling", [engines.greedy(), SAMPLED], ids=["greedy", "sampled"])
def test_a_job_in_slots_is_the_job_without(
    checkpoints: Callable[[str], Path], name: str, sampling: SamplingParams
) -> None:
    """Several prompts of different lengths, with and without guidance, each in its own slot."""
    folder = checkpoints(name)
    unguided = SamplingParams(sampling.temperature, sampling.top_k, 0.0, 1.0)
    rows = tuple(
        Row(prompt, seed, params)
        for seed, (prompt, params) in enumerate(
            [(engines.PROMPTS[0], sampling), ("", unguided), ("bells", unguided)]
        )
    )
    job = GenerationJob(rows, 40)
    expected = engines.run(_load_layers(folder), job).codes
    np.testing.assert_array_equal(engines.run(_in_slots(folder), job).codes, expected)


def test_a_continuation_finds_its_past_in_the_slot(checkpoints: Callable[[str], Path]) -> None:
    folder = checkpoints("musicgen-small")
    config = MusicGenConfig.from_folder(folder)
    rng = np.random.default_rng(1)
    pcm = rng.uniform(-0.5, 0.5, (config.sample_rate // 2, config.channels)).astype(np.float32)
    job = GenerationJob((Row("piano", 3, SAMPLED),), 60, audio_prompt=pcm)
    expected = engines.run(_load_layers(folder), job).codes
    np.testing.assert_array_equal(engines.run(_in_slots(folder), job).codes, expected)


@settings(max_examples=15, deadline=None)
@given(arrivals=ARRIVALS, name=st.sampled_from(["musicgen-small", "musicgen-stereo-melody"]))
def test_jobs_that_come_and_go_make_what_they_make_alone(
    checkpoints: Callable[[str], Path], arrivals: list[dict[str, Any]], name: str
) -> None:
    engine, reference = _in_slots(checkpoints(name)), _load_layers(checkpoints(name))
    jobs = [_job(arrival, 0.0) for arrival in arrivals]
    for found, job in zip(_together(engine, arrivals, jobs), jobs, strict=True):
        if found is None:
            continue
        alone = engines.run(reference, job).codes
        for row in range(len(job.rows)):
            if not np.array_equal(found[row], alone[row]):
                assert _gap_where_they_part(reference, job, row, found[row]) < NEAR_TIE
    assert not engines.backend_of(engine).runner._rows  # type: ignore[attr-defined]


def test_a_job_that_pauses_finds_its_past_unharmed(checkpoints: Callable[[str], Path]) -> None:
    """Steps of others run over its slot meanwhile, also with shapes shorter than its past."""
    folder = checkpoints("musicgen-small")
    engine, reference = _in_slots(folder), _load_layers(folder)
    paused, other = (GenerationJob((Row("piano", s, SAMPLED),), 280) for s in (1, 2))
    steps = engine.generate(paused)
    while next(steps).done < 150:
        pass
    np.testing.assert_array_equal(
        engines.run(engine, other).codes, engines.run(reference, other).codes
    )
    with pytest.raises(StopIteration) as finished:
        while True:
            next(steps)
    np.testing.assert_array_equal(finished.value.value.codes, engines.run(reference, paused).codes)


@pytest.mark.parametrize(
    ("rows", "frames", "prompt"),
    [(1, CAPACITY, "bells"), (1, 20, "many words " * TOKENS), (17, 10, "")],
    ids=["too long", "too many tokens", "too many rows"],
)
def test_what_does_not_fit_into_slots_is_decoded_beside_them(
    checkpoints: Callable[[str], Path], rows: int, frames: int, prompt: str
) -> None:
    folder = checkpoints("musicgen-small")
    engine, reference = _in_slots(folder), _load_layers(folder)
    large = GenerationJob(tuple(Row(prompt, seed, SAMPLED) for seed in range(rows)), frames)
    small = GenerationJob((Row("piano", 1, SAMPLED),), 30)
    with ThreadPoolExecutor(2) as callers:
        found = [callers.submit(engines.run, engine, job) for job in (large, small)]
        for each, job in zip(found, (large, small), strict=True):
            expected = engines.run(reference, job).codes
            np.testing.assert_array_equal(each.result(60).codes, expected)


def test_what_a_broken_job_leaves_in_its_slot_hurts_nobody(
    checkpoints: Callable[[str], Path],
) -> None:
    folder = checkpoints("musicgen-small")
    engine = _in_slots(folder, rows=2)
    job = GenerationJob((Row("piano", 1, SAMPLED),), 30)
    expected = engines.run(engine, job).codes
    slots = _slots(engine)
    kept = slots.cache.keys, slots.cache.values
    for tensor in (*kept, slots.cross_keys, slots.cross_values, slots.logits):
        tensor.fill_(float("nan"))
    np.testing.assert_array_equal(engines.run(engine, job).codes, expected)


def test_logits_that_are_not_finite_are_found(checkpoints: Callable[[str], Path]) -> None:
    engine = _in_slots(checkpoints("musicgen-small"), rows=4)
    steps = engine.generate(GenerationJob((Row("piano", 1, SAMPLED),), 200))
    next(steps)
    _slots(engine).cache.values.fill_(float("nan"))
    with pytest.raises(errors.NonFiniteLogits):
        for _ in steps:
            pass


def test_where_nothing_can_be_recorded_the_steps_run_as_they_are(
    checkpoints: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    """Without a GPU, capture fails indeed."""
    if torch.cuda.is_available():
        pytest.skip("CUDA graph capture works here")
    folder = checkpoints("musicgen-small")
    job = GenerationJob((Row("piano", 1, SAMPLED),), 30)
    expected = engines.run(_load_layers(folder), job).codes
    engine = _in_slots(folder, capture=True)
    np.testing.assert_array_equal(engines.run(engine, job).codes, expected)
    assert sum("CUDA graph capture failed" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-stereo-melody"])
@pytest.mark.parametrize(
    "features",
    [
        SamplerFeatures(random=False, largest_k=0, top_p=False),
        SamplerFeatures(random=True, largest_k=16, top_p=False),
        SamplerFeatures(random=True, largest_k=0, top_p=True),
    ],
    ids=["greedy", "top_k", "top_p"],
)
def test_a_step_asks_the_host_for_nothing(
    checkpoints: Callable[[str], Path], name: str, features: SamplerFeatures
) -> None:
    """Run on meta tensors, with shapes but no values.

    Reading a value, or mixing in a tensor of the CPU, raises as it would during graph capture.
    """
    config = MusicGenConfig.from_folder(checkpoints(name)).decoder
    with torch.device("meta"), torch.inference_mode():
        slots = RowSlots(Decoder(config), 4, CAPACITY, TOKENS)
    with torch.inference_mode():
        slots.step(StepShape(rows=4, length=256, tokens=16, features=features))
        assert slots.logits.device.type == "meta"
        with pytest.raises(RuntimeError, match="meta"):
            slots.finite.all().item()


def test_no_more_steps_are_queued_than_allowed() -> None:
    steps, ended = StepsInFlight(limit=2), list[int]()
    for number in range(5):
        steps.wait()
        steps.add(lambda number=number: ended.append(number))  # type: ignore[misc]
        assert len(ended) == max(0, number - 1)
    assert ended == [0, 1, 2]
