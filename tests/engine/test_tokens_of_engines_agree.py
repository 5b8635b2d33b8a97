"""Every engine samples the same tokens from the same weights, alone and in a changing batch."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.interface import GenerationJob, Row
from musicgen.engine.loading import load_engine
from musicgen.model.config import MusicGenConfig
from musicgen.request import SamplingParams
from musicgen.request.limits import TOP_K_DEFAULT
from musicgen.settings import Settings
from tests.support import engines
from tests.support.checkpoints import ALL_SPECS
from tests.support.margins import check_codes
from tests.support.packs import pack_folder

NEAR_TIE = 1e-4
DEADLINE = 120.0
Load = Callable[[Path, str], MusicGenEngine]


@functools.cache
def _load_packed(folder: Path, precision: str) -> MusicGenEngine:
    """Load a packed file of a native form with the engine that serves it on a processor."""
    file = folder.with_name(f"{folder.name}-agree-{precision}.pack")
    with FileLock(f"{file}.lock"):
        if not file.exists():
            pack_folder(folder, f"native-{precision}", file)
    settings = Settings(device="cpu", precision=precision)
    engine = load_engine(file, folder.name, settings)
    assert isinstance(engine, MusicGenEngine)
    return engine


CONTESTANTS: dict[str, Load] = {"torch": engines.engine, "packed": _load_packed}
"""Engines by name: functions of the checkpoint's folder and the precision."""

SAMPLING = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 2, 7, 32, TOP_K_DEFAULT]),
    top_p=st.sampled_from([0.0, 0.0, 0.05, 0.9, 1.0]),
    guidance=st.sampled_from([0.0, 1.0, 1.5, 3.0, 10.0]),
)
ROWS = st.builds(
    Row,
    prompt=st.sampled_from([*engines.PROMPTS, "", "bells", "deep bass and " * 12]),
    seed=st.integers(0, 2**32 - 1),
    sampling=SAMPLING,
    negative_prompt=st.sampled_from(["", "", "noise", "a long list of noises, hiss and hum"]),
)
ARRIVALS = st.lists(
    st.fixed_dictionaries(
        {
            "rows": st.lists(ROWS, min_size=1, max_size=3),
            "frames": st.integers(1, 30),
            "known": st.sampled_from([0, 0, 1, 5]),
            "melody": st.sampled_from([None, None, 0.05, 0.5]),
            "after_ms": st.integers(0, 40),
            "cancelled_at": st.none() | st.integers(1, 3),
        }
    ),
    min_size=1,
    max_size=5,
)


def _build_job(arrival: dict[str, Any], config: MusicGenConfig) -> GenerationJob:
    """Build a job of one window that the checkpoint supports."""
    random = np.random.default_rng(arrival["rows"][0].seed)
    hop, known, frames = config.codec.hop_length, arrival["known"], arrival["frames"]
    clip = random.normal(0, 0.2, (known * hop, config.channels)).astype(np.float32)
    melody = None
    if config.family == "melody" and arrival["melody"] is not None:
        samples = round(arrival["melody"] * 32000)
        melody = random.normal(0, 0.2, (samples, 1)).astype(np.float32)
    return GenerationJob(
        tuple(arrival["rows"]),
        min(known + frames, config.window_frames),
        audio_prompt=clip if known else None,
        melody=melody,
    )


def _arrive(engine: MusicGenEngine, arrival: dict[str, Any], job: GenerationJob) -> Any:
    """Return the codes of the job, or None if it was cancelled."""
    time.sleep(arrival["after_ms"] / 1000)
    steps = engine.generate(job)
    limit = arrival["cancelled_at"]
    for done in count():
        if done == limit:
            steps.close()
            return None
        try:
            next(steps)
        except StopIteration as finished:
            return finished.value.codes
    raise AssertionError


def _wait_until_idle(engine: MusicGenEngine) -> None:
    """Wait for the last step of a cancelled job, which would be recorded as the reference's."""
    end = time.monotonic() + DEADLINE
    while engine._batch._is_running:
        assert time.monotonic() < end
        time.sleep(0.001)


def _check(reference: MusicGenEngine, engine: MusicGenEngine, arrivals: list[Any]) -> None:
    jobs = [_build_job(arrival, engine.config) for arrival in arrivals]
    with ThreadPoolExecutor(len(jobs)) as callers:
        waiting = [
            callers.submit(_arrive, engine, arrival, job)
            for arrival, job in zip(arrivals, jobs, strict=True)
        ]
        found = [each.result(DEADLINE) for each in waiting]
    _wait_until_idle(engine)
    for codes, job in zip(found, jobs, strict=True):
        if codes is not None:
            check_codes(reference, job, codes, NEAR_TIE)


def _load_reference(folder: Path, precision: str) -> MusicGenEngine:
    """In float32 the layers of PyTorch; other weights are packed the same way for both."""
    return engines.engine(folder, precision, compiled=precision != "float32")


@settings(max_examples=8)
@given(arrivals=ARRIVALS)
@pytest.mark.parametrize("contestant", CONTESTANTS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8", "int4"])
@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-stereo-medium", "musicgen-melody"])
def test_engines_sample_the_same_tokens(
    checkpoints: Callable[[str], Path],
    name: str,
    precision: str,
    contestant: str,
    arrivals: list[dict[str, Any]],
) -> None:
    folder = checkpoints(name)
    _check(_load_reference(folder, precision), CONTESTANTS[contestant](folder, precision), arrivals)


@pytest.mark.slow
@settings(max_examples=15)
@given(arrivals=ARRIVALS)
@pytest.mark.parametrize("contestant", CONTESTANTS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8", "int4"])
@pytest.mark.parametrize("name", ALL_SPECS)
def test_engines_sample_the_same_tokens_with_every_checkpoint(
    checkpoints: Callable[[str], Path],
    name: str,
    precision: str,
    contestant: str,
    arrivals: list[dict[str, Any]],
) -> None:
    folder = checkpoints(name)
    _check(_load_reference(folder, precision), CONTESTANTS[contestant](folder, precision), arrivals)
