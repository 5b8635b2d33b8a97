"""Logits of known tokens, computed by steps in slots: the GPU's kernels and their KV cache."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bench.precision import Case
from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.interface import Row
from musicgen.engine.pytorch.backend import TorchBackend
from musicgen.engine.pytorch.conditioning import build_conditioning
from musicgen.engine.pytorch.cuda.fused import FusedLayers
from musicgen.engine.pytorch.cuda.graphs import SlotRunner, StepRunner
from musicgen.engine.pytorch.cuda.kernels.choice import TWINS
from musicgen.engine.pytorch.cuda.kernels.options import KernelOptions
from musicgen.engine.pytorch.cuda.memory import (
    PROMPT_TOKENS,
    choose_runner,
    compute_slot_capacity,
)
from musicgen.engine.pytorch.cuda.slots import RowSlots
from musicgen.model.musicgen import MusicGen
from musicgen.model.native.draws import NumpyDraws
from musicgen.request import SamplingParams


def build_runner(
    model: MusicGen, device: str, rows: int, kernels: KernelOptions | None
) -> tuple[StepRunner, int]:
    """Return a runner and its rows; on a processor the twins of `kernels` stand in for these.

    Raises: `RuntimeError` where the kernels of its KV cache do not run.
    """
    if kernels is None:
        return choose_runner(model, device, rows)
    if device == "cpu":
        fused = FusedLayers(model.decoder, replace(TWINS, kv_cache=kernels.kv_cache))
        capacity = compute_slot_capacity(model)
        slots = RowSlots(model.decoder, rows, capacity, PROMPT_TOKENS, fused=fused)
        return SlotRunner(slots, capture=False), rows
    runner, rows = choose_runner(model, device, rows, kernels=kernels)
    cache = None if runner.slots is None else runner.slots.cache
    if kernels.kv_cache and (cache is None or cache.factors is None):
        raise RuntimeError(f"the kernels of a KV cache in {kernels.kv_cache} do not run here")
    return runner, rows


@torch.inference_mode()
def compute_slot_logits(engine: MusicGenEngine, case: Case) -> Tensor:
    """Feed the tokens of `case` to an idle engine, step by step in a slot.

    Returns: float32 logits (steps, codebooks, vocabulary), those of `bench.precision.logits`.
    """
    backend, decoder = engine.backend, engine.config.decoder
    assert isinstance(backend, TorchBackend)
    runner, slots = backend.runner, backend.runner.slots
    assert slots is not None
    # An empty prompt would be none.
    rows = [Row("of the case", 0, SamplingParams(guidance=1.0))]
    conditioning = build_conditioning(backend.model, lambda _: case.text, rows, None)
    length = case.sequence.shape[1]
    frames = length - decoder.codebooks // decoder.channels
    known = np.zeros((1, decoder.codebooks, 0), np.int64)
    state = backend.start_window(rows, frames, conditioning, known, NumpyDraws([0]))
    state.prefill()
    runner.admit(state)
    # An idle engine's first job is in the first slot. Tokens that are known there are not sampled.
    slots.sequence[0, :, :length] = case.sequence.to(slots.sequence.device)
    found = [slots.logits[0].clone()]
    for _ in range(length - 2):
        runner.step([state])
        found.append(slots.logits[0].clone())
    runner.release(state)
    return torch.stack(found)
