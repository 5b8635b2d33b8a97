"""Captures that fail, planned memory and number formats: what a GPU needs, on a machine without."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from musicgen.engine.interface import GenerationJob, Row
from musicgen.engine.pytorch.cuda import capture, graphs
from musicgen.engine.pytorch.cuda.graphs import SlotRunner
from musicgen.engine.pytorch.cuda.memory import (
    ALIGNMENT,
    RESERVED_FRACTION,
    compute_slot_capacity,
    count_rows,
)
from musicgen.engine.pytorch.cuda.slots import RowSlots, StepShape
from musicgen.engine.pytorch.loading import build_engine, use_exact_float32
from musicgen.model.layers import attend, build_additive_mask
from musicgen.process.resources import free_memory
from musicgen.request import SamplingParams
from tests.support import engines
from tests.support.captures import StandInGraphs, break_captures
from tests.support.checkpoints import FAMILIES

JOB = GenerationJob((Row("piano", 1, SamplingParams(1.0, 30, 0.0, 3.0)),), 30)


def test_a_capture_without_memory_is_tried_again(
    checkpoints: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One full moment must not leave the process on slow steps for good."""
    monkeypatch.setattr(capture, "RUNS_BETWEEN_CAPTURES", 10)
    known = engines.engine(checkpoints("musicgen-small"), compiled=False)
    model = engines.model_of(known)
    runner = SlotRunner(RowSlots(model.decoder, 4, 300, 24), capture=True)
    captured = runner.graphs = StandInGraphs(failures=2)
    tokenize = engines.backend_of(known).tokenize
    engine = build_engine(model, tokenize, "float32", rows=4, runner=runner)
    np.testing.assert_array_equal(engines.run(engine, JOB).codes, engines.run(known, JOB).codes)
    assert captured.attempts == 3
    # 33 steps: two failures with ten steps after each, then the graph.
    assert [graph.replays for graph in captured.made] == [11]
    assert sum("No memory for a CUDA graph" in record.message for record in caplog.records) == 2


def test_a_failed_capture_leaves_the_steps_on_their_stream(
    checkpoints: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's own context is real here; it keeps the capture's stream when its end fails.

    Steps on another stream than prefills and readers would race with them.
    """
    engine = engines.engine(checkpoints("musicgen-small"), compiled=False)
    runner = SlotRunner(RowSlots(engines.model_of(engine).decoder, 2, 32, 16), capture=True)
    runner.slots.active[0] = True
    usual = break_captures(monkeypatch)
    features = graphs.SamplerFeatures(random=False, largest_k=0, top_p=False)
    shape = StepShape(rows=2, length=32, tokens=16, features=features)
    runner.graphs.run(shape, partial(runner.slots.step, shape), runner._pause)
    assert not runner.graphs.enabled
    assert torch.cuda.current_stream() is usual
    assert runner.slots.active.tolist() == [True, False]


@pytest.mark.parametrize("name", FAMILIES)
def test_slots_end_where_attention_kernels_need_no_copy(
    checkpoints: Callable[[str], Path], name: str
) -> None:
    model = engines.model(checkpoints(name))
    capacity = compute_slot_capacity(model)
    assert capacity % ALIGNMENT == 0
    decoder = model.config.decoder
    delay = decoder.codebooks // decoder.channels - 1
    assert capacity >= model.config.window_frames + delay


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [1, 5], ids=["step", "prefill"])
def test_an_additive_mask_is_the_boolean_one(dtype: torch.dtype, length: int) -> None:
    query, key, value = (torch.randn(2, 3, steps, 8).to(dtype) for steps in (length, 7, 7))
    allowed = torch.rand(2, 1, length, 7) > 0.4
    allowed[..., 0] = True
    found = attend(query, key, value, build_additive_mask(allowed, dtype))
    assert torch.equal(found, attend(query, key, value, allowed))


def test_a_step_converts_no_mask_in_its_layers(checkpoints: Callable[[str], Path]) -> None:
    """A GPU would run a kernel for it in each layer."""
    engine = engines.engine(checkpoints("musicgen-small"), compiled=False)
    slots = RowSlots(engines.model_of(engine).decoder, 2, 32, 16)
    seen = []

    def record(x, positions, cache, prompts):  # type: ignore[no-untyped-def]
        seen.extend([positions.mask, positions.prompt_mask])
        return x

    slots._layers = record  # type: ignore[assignment]
    features = graphs.SamplerFeatures(random=False, largest_k=0, top_p=False)
    slots.step(StepShape(rows=2, length=32, tokens=16, features=features))
    assert [mask.dtype for mask in seen] == [torch.float32] * 2


class _CountedRanges(TorchDispatchMode):
    ranges = 0

    def __torch_dispatch__(  # type: ignore[no-untyped-def]
        self, func, types, args=(), kwargs=None
    ) -> Any:
        self.ranges += func.overloadpacket is torch.ops.aten.arange
        return func(*args, **(kwargs or {}))


def test_a_step_counts_no_rows_in_its_layers(checkpoints: Callable[[str], Path]) -> None:
    """Each range is a kernel; only the embedding makes one."""
    engine = engines.engine(checkpoints("musicgen-small"), compiled=False)
    slots = RowSlots(engines.model_of(engine).decoder, 2, 32, 16)
    features = graphs.SamplerFeatures(random=True, largest_k=8, top_p=False)
    with torch.inference_mode(), _CountedRanges() as counted:
        slots.step(StepShape(rows=2, length=32, tokens=16, features=features))
    assert counted.ranges == 1


def test_cached_memory_counts_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a closed engine leaves in PyTorch's allocator must not refuse the next model."""
    cached = 700
    monkeypatch.setattr(
        torch.cuda, "mem_get_info", lambda device: (1000 - cached, 1000), raising=True
    )

    def empty() -> None:
        nonlocal cached
        cached = 0

    monkeypatch.setattr(torch.cuda, "empty_cache", empty)
    assert free_memory("cuda:0") == 1000


@pytest.mark.parametrize("free", [3e9, 24e9, 140e9])
@pytest.mark.parametrize(("row", "codec"), [(160e6, 250e6), (630e6, 250e6), (50e6, 900e6)])
def test_planned_rows_leave_memory_for_all_their_codecs(
    free: float, row: float, codec: float
) -> None:
    """Clips that end together are decoded together, each by its caller."""
    rows = count_rows(int(free), int(row), int(codec))
    clips = max(1, rows // 2)
    assert rows * row + clips * codec <= free * (1 - RESERVED_FRACTION)
    more = rows + 1
    assert more * row + max(1, more / 2) * codec > free * (1 - RESERVED_FRACTION)


def test_float32_is_exact_on_a_gpu() -> None:
    parts = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [part.allow_tf32 for part in parts]
    try:
        for part in parts:
            part.allow_tf32 = True
        use_exact_float32()
        assert [part.allow_tf32 for part in parts] == [False, False]
    finally:
        for part, value in zip(parts, before, strict=True):
            part.allow_tf32 = value
