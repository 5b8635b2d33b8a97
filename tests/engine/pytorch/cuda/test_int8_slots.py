"""Slots with an 8-bit KV cache, on a CPU: the kernels' twins stand in for these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from musicgen import errors
from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.interface import GenerationJob, Row
from musicgen.engine.pytorch.cuda import cache, memory
from musicgen.engine.pytorch.cuda.cache import SlotCache
from musicgen.engine.pytorch.cuda.fused import FusedLayers
from musicgen.engine.pytorch.cuda.graphs import EagerRunner, SlotRunner
from musicgen.engine.pytorch.cuda.kernels import choice, twins
from musicgen.engine.pytorch.cuda.kernels.choice import TWINS, StepKernels
from musicgen.engine.pytorch.cuda.kernels.options import KernelOptions
from musicgen.engine.pytorch.cuda.kernels.twins import quantize_vectors
from musicgen.engine.pytorch.cuda.memory import PROMPT_TOKENS, choose_runner
from musicgen.engine.pytorch.cuda.slots import RowSlots
from musicgen.engine.pytorch.decode_state import DecodeState
from musicgen.engine.pytorch.loading import build_engine
from musicgen.model.native.draws import NumpyDraws
from musicgen.request import SamplingParams
from tests.support import engines
from tests.support.checkpoints import FAMILIES

CAPACITY, TOKENS = 300, 24
SAMPLED = SamplingParams(temperature=1.0, top_k=30, guidance=3.0)
INT8 = replace(TWINS, kv_cache="int8")
BROKEN = pytest.mark.parametrize("broken", [float("nan"), float("inf"), float("-inf")])


def _in_slots(folder: Path, kernels: StepKernels = INT8, rows: int = 8) -> MusicGenEngine:
    known = engines.engine(folder, compiled=False)
    model = engines.model_of(known)
    fused = FusedLayers(model.decoder, kernels)
    slots = RowSlots(model.decoder, rows, CAPACITY, TOKENS, fused=fused)
    runner = SlotRunner(slots, capture=False)
    tokenize = engines.backend_of(known).tokenize
    return build_engine(model, tokenize, "float32", rows=rows, runner=runner)


def _start(engine: MusicGenEngine, steps: int) -> DecodeState:
    """Return the prefilled state of a guided clip, not yet admitted."""
    backend = engines.backend_of(engine)
    conditioning = backend.build_conditioning([Row("piano", 1, SAMPLED)], None)
    known = np.zeros((1, engine.config.decoder.codebooks, 0), np.int64)
    rows = [Row("piano", 1, SAMPLED)]
    state = backend.start_window(rows, steps, conditioning, known, NumpyDraws([1]))
    state.prefill()
    return state


def _slots(engine: MusicGenEngine) -> RowSlots:
    slots = engines.backend_of(engine).runner.slots
    assert slots is not None
    return slots


def _restore(numbers: Tensor, factors: Tensor) -> Tensor:
    return numbers.float() * factors[..., None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_vector_is_off_by_half_a_step_at_most(dtype: torch.dtype) -> None:
    x = (torch.randn(3, 5, 64) * torch.tensor([1e-3, 1.0, 1e4])[:, None, None]).to(dtype)
    numbers, factors = quantize_vectors(x)
    assert numbers.dtype == torch.int8
    assert factors.dtype == torch.float32
    assert numbers.abs().amax(-1).eq(127).all(), "the largest number is not used"
    assert ((_restore(numbers, factors) - x.float()).abs() <= 0.501 * factors[..., None]).all()


def test_a_vector_of_zeros_stays_one() -> None:
    numbers, factors = quantize_vectors(torch.zeros(2, 16))
    assert numbers.eq(0).all()
    assert factors.isfinite().all()


@BROKEN
def test_a_broken_vector_is_not_finite_and_the_others_are(broken: float) -> None:
    x = torch.randn(4, 16)
    x[2, 5] = broken
    restored = _restore(*quantize_vectors(x))
    assert restored[2].isnan().all()
    assert restored[[0, 1, 3]].isfinite().all()


@BROKEN
@pytest.mark.parametrize("part", [1, 2], ids=["key", "value"])
def test_a_broken_key_or_value_breaks_its_head_alone(broken: float, part: int) -> None:
    """In the step that stores it, and in each step that reads it later."""
    heads, dim = 3, 16
    keys, values = (torch.zeros(2, heads, 32, dim, dtype=torch.int8) for _ in range(2))
    factors = torch.zeros(2, heads, 32), torch.zeros(2, heads, 32)
    first = torch.tensor([0, 0])
    joined = torch.randn(2, 3 * heads * dim)
    joined.view(2, 3, heads, dim)[1, part, 2, 7] = broken
    for end in (1, 2, 3):
        given = keys, values, first, torch.tensor([end, end]), factors
        found = twins.append_attend(joined, *given)
        assert found[1, 2].isnan().all()
        assert found[0].isfinite().all()
        assert found[1, :2].isfinite().all()
        joined = torch.randn_like(joined)


def test_attention_over_rounded_columns_is_near_the_exact_one() -> None:
    query, keys, values = (
        torch.randn(2, 4, 64),
        torch.randn(2, 4, 96, 64),
        torch.randn(2, 4, 96, 64),
    )
    live = torch.tensor([0, 5]), torch.tensor([96, 40])
    (rounded_keys, key_factors), (rounded_values, value_factors) = (
        quantize_vectors(x) for x in (keys, values)
    )
    factors = key_factors, value_factors
    found = twins.attend_live(query, rounded_keys, rounded_values, *live, factors)
    restored = _restore(rounded_keys, key_factors), _restore(rounded_values, value_factors)
    torch.testing.assert_close(found, twins.attend_live(query, *restored, *live))
    wanted = twins.attend_live(query, keys, values, *live)
    assert float((found - wanted).norm() / wanted.norm()) < 0.02


@pytest.mark.parametrize("form", ["", "int8"])
@pytest.mark.parametrize("name", FAMILIES)
def test_planned_bytes_are_those_of_the_slots(
    checkpoints: Callable[[str], Path], name: str, form: str
) -> None:
    decoder = engines.model(checkpoints(name)).decoder
    fused = FusedLayers(decoder, replace(TWINS, kv_cache=form))
    slots = RowSlots(decoder, 3, 64, 16, fused=fused)
    tensors = [slots.cache.keys, slots.cache.values, *(slots.cache.factors or ())]
    if decoder.config.cross_attention:
        tensors += [slots.cross_keys, slots.cross_values]
    planned = RowSlots.compute_row_bytes(decoder.config, 64, 16, 4, form)
    assert 3 * planned == sum(tensor.nbytes for tensor in tensors)


def test_the_plan_has_more_rows_with_an_int8_cache(
    checkpoints: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the rows that it plans fit into the memory."""
    known = engines.model(checkpoints("musicgen-small"))
    monkeypatch.setattr(choice, "_import_kernels", lambda *_: TWINS)
    monkeypatch.setattr(memory, "estimate_codec_memory", lambda *_: 0)
    capacity = memory.compute_slot_capacity(known)
    row = RowSlots.compute_row_bytes(known.decoder.config, capacity, PROMPT_TOKENS, 4)
    free = 8 * row
    monkeypatch.setattr(memory, "free_memory", lambda device: free)
    rows = {}
    for form in ("", "int8"):
        options = KernelOptions(kv_cache=form)
        runner, rows[form] = choose_runner(known, "cuda:0", 100, kernels=options)
        slots = runner.slots
        assert slots is not None
        parts = slots.cache.keys, slots.cache.values, *(slots.cache.factors or ())
        used = sum(part.nbytes for part in (*parts, slots.cross_keys, slots.cross_values))
        assert used <= 0.9 * free
        assert (slots.cache.keys.dtype == torch.int8) == (form == "int8")
    assert rows[""] == 7
    assert rows["int8"] > 1.5 * rows[""]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_job_repeats_itself(checkpoints: Callable[[str], Path], name: str) -> None:
    """Also after longer jobs in the same slots."""
    engine = _in_slots(checkpoints(name))
    rows = tuple(Row(engines.PROMPTS[seed], seed, SAMPLED) for seed in range(2))
    first = engines.run(engine, GenerationJob(rows, 30)).codes
    engines.run(engine, GenerationJob(rows, 50))
    np.testing.assert_array_equal(engines.run(engine, GenerationJob(rows, 30)).codes, first)
    assert np.unique(first).size > 10


@torch.inference_mode()
def test_logits_are_near_those_of_an_exact_cache(checkpoints: Callable[[str], Path]) -> None:
    """Both get the same tokens, known beforehand."""
    folder, steps, logits = checkpoints("musicgen-small"), 60, []
    for kernels in (TWINS, INT8):
        engine = _in_slots(folder, kernels)
        runner, slots = engines.backend_of(engine).runner, _slots(engine)
        state = _start(engine, steps)
        runner.admit(state)
        books = engine.config.decoder.codebooks
        column = torch.arange(CAPACITY)[None] * 7 + torch.arange(books)[:, None]
        slots.sequence[0] = column % engine.config.decoder.vocab_size
        for _ in range(steps):
            runner.step([state])
        logits.append(slots.logits[:2].clone())
    difference = float((logits[0] - logits[1]).norm() / logits[0].norm())
    assert 0 < difference < 0.05


def test_a_long_prefill_is_stored_in_pieces(
    checkpoints: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = engines.model(checkpoints("musicgen-small")).decoder.config
    slots, shape = torch.tensor([3, 1]), (config.layers, 2, config.heads, 20, config.head_dim)
    keys, values = torch.randn(shape), torch.randn(shape)
    stored = []
    for numbers in (1, 1 << 22):
        monkeypatch.setattr(cache, "PIECE_NUMBERS", numbers)
        kept = SlotCache(config, 4, 32, torch.float32, torch.device("cpu"), form="int8")
        kept.keys.fill_(7)
        kept.store(slots, keys, values)
        assert kept.factors is not None
        stored.append((kept.keys, kept.values, *kept.factors))
    assert all(torch.equal(*pair) for pair in zip(*stored, strict=True))
    found, wanted = stored[0], quantize_vectors(keys)
    assert torch.equal(found[0][:, slots, :, :20], wanted[0])
    assert torch.equal(found[2][:, slots, :, :20], wanted[1])
    assert found[0][:, slots, :, 20:].eq(0).all()
    assert found[0][:, [0, 2]].eq(7).all(), "another slot was written"


@BROKEN
@torch.inference_mode()
def test_a_broken_prefill_is_found(checkpoints: Callable[[str], Path], broken: float) -> None:
    """One infinite key of one head, whatever the sign of its query."""
    engine = _in_slots(checkpoints("musicgen-small"))
    runner = engines.backend_of(engine).runner
    state = _start(engine, 30)
    state.cache.keys[0, 0, 0, 0, 0] = broken
    runner.admit(state)
    for _ in range(2):
        runner.step([state])
    assert not state.is_finite()


def test_broken_values_are_found_while_decoding(checkpoints: Callable[[str], Path]) -> None:
    engine = _in_slots(checkpoints("musicgen-small"), rows=4)
    steps = engine.generate(GenerationJob((Row("piano", 1, SAMPLED),), 200))
    next(steps)
    factors = _slots(engine).cache.factors
    assert factors is not None
    factors[1].fill_(float("nan"))
    with pytest.raises(errors.NonFiniteLogits):
        for _ in steps:
            pass


def test_what_a_broken_job_leaves_in_int8_slots_hurts_nobody(
    checkpoints: Callable[[str], Path],
) -> None:
    engine = _in_slots(checkpoints("musicgen-small"), rows=2)
    job = GenerationJob((Row("piano", 1, SAMPLED),), 30)
    expected = engines.run(engine, job).codes
    kept = _slots(engine).cache
    for tensor in (kept.keys, kept.values):
        tensor.fill_(127)
    for tensor in kept.factors or ():
        tensor.fill_(float("nan"))
    np.testing.assert_array_equal(engines.run(engine, job).codes, expected)


def test_a_job_beside_int8_slots_keeps_an_exact_cache(checkpoints: Callable[[str], Path]) -> None:
    folder = checkpoints("musicgen-small")
    job = GenerationJob((Row("bells", 2, SAMPLED),), CAPACITY)
    expected = engines.run(engines.engine(folder, compiled=False), job).codes
    np.testing.assert_array_equal(engines.run(_in_slots(folder), job).codes, expected)


def test_where_no_kernel_runs_the_cache_is_exact(
    checkpoints: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without Triton there is nothing to read an int8 cache."""

    def fail(*_: object) -> None:
        raise RuntimeError("no compiler for this card")

    model = engines.model(checkpoints("musicgen-small"))
    monkeypatch.setattr(choice, "_import_kernels", fail)
    monkeypatch.setattr(memory, "free_memory", lambda device: 1 << 32)
    runner, _ = choose_runner(model, "cuda:0", 4, kernels=KernelOptions(kv_cache="int8"))
    assert not isinstance(runner, EagerRunner)
    assert runner.slots is not None
    assert runner.slots.cache.keys.dtype == torch.float32
    assert [record.levelname for record in caplog.records] == ["WARNING"]
