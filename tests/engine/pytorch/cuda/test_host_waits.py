"""The host waits for a GPU only where it reads results: not to start, admit or step a job.

A wait costs the steps queued before it, for every job in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from musicgen.engine.interface import Row
from musicgen.engine.pytorch.backend import TorchBackend
from musicgen.engine.pytorch.cuda.fused import FusedLayers
from musicgen.engine.pytorch.cuda.graphs import EagerRunner, SlotRunner, StepRunner
from musicgen.engine.pytorch.cuda.kernels.choice import TWINS
from musicgen.engine.pytorch.cuda.launch import LaunchOptions
from musicgen.engine.pytorch.cuda.slots import RowSlots
from musicgen.engine.pytorch.decode_state import DecodeState
from musicgen.model.config import MusicGenConfig
from musicgen.model.musicgen import MusicGen
from musicgen.model.native.draws import NumpyDraws
from musicgen.model.tokenizer import load_tokenizer
from musicgen.request import SamplingParams
from tests.support import engines
from tests.support.host_copies import HostWaits

CAPACITY, TOKENS, ROWS = 400, 64, 8
SAMPLED = SamplingParams(temperature=1.0, top_k=30, guidance=3.0)
UNGUIDED = SamplingParams(temperature=0.0, top_k=0, guidance=1.0)


@pytest.fixture(params=["musicgen-small", "musicgen-stereo-melody"])
def folder(request: pytest.FixtureRequest, checkpoints: Callable[[str], Path]) -> Path:
    return checkpoints(request.param)


@pytest.fixture
def model(folder: Path) -> Iterator[MusicGen]:
    """On the meta device, with shapes but no values."""
    with torch.device("meta"), torch.inference_mode():
        yield MusicGen(MusicGenConfig.from_folder(folder)).eval()


def _start(backend: TorchBackend, params: list[SamplingParams]) -> DecodeState:
    rows = [Row(engines.PROMPTS[i % 2], i, sampling) for i, sampling in enumerate(params)]
    conditioning = backend.build_conditioning(rows, None)
    known = np.zeros((len(rows), backend.config.decoder.codebooks, 0), np.int64)
    state = backend.start_window(rows, 30, conditioning, known, NumpyDraws(range(len(rows))))
    assert state.prefill()
    backend.admit(state)
    return state


@pytest.mark.parametrize("form", ["own", "int8", None], ids=["slots", "int8 slots", "eager"])
@pytest.mark.parametrize("graphs", [True, False], ids=["prompt graphs", "prompts"])
def test_starting_admitting_and_stepping_never_wait(
    folder: Path, model: MusicGen, form: str | None, graphs: bool
) -> None:
    """Jobs of several prompts and samplings come, step together, and one goes."""
    runner: StepRunner = EagerRunner()
    with torch.device("cpu"), torch.inference_mode():
        if form is not None:
            kernels = replace(TWINS, kv_cache="int8")
            fused = FusedLayers(model.decoder, kernels) if form == "int8" else None
            slots = RowSlots(model.decoder, ROWS, CAPACITY, TOKENS, fused=fused)
            runner = SlotRunner(slots, capture=False)
        backend = TorchBackend(
            model, load_tokenizer(folder), "bfloat16", runner, LaunchOptions(graphs)
        )
        with HostWaits() as waits:
            states = [_start(backend, [SAMPLED, UNGUIDED]), _start(backend, [SAMPLED])]
            for _ in range(3):
                backend.step(states)
            backend.release(states.pop())
            backend.step(states)
    assert all(state.fits_slots == (form is not None) for state in states)
    assert waits.copies > 0, "no copy was seen"


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.any()),
        lambda x: x.cpu(),
        lambda x: torch.ones(3).to(x.device),
        lambda x: torch.tensor([1, 2, 3], device=x.device),
        lambda x: x.copy_(torch.ones(3)),
        lambda x: x[torch.tensor([0, 1])],
        lambda x: x[[0, 2]],
    ],
    ids=["item", "bool", "cpu", "to", "tensor", "copy", "index", "list"],
)
def test_the_guard_finds(wait: Callable[[torch.Tensor], object]) -> None:
    with HostWaits(), pytest.raises((AssertionError, NotImplementedError, RuntimeError)) as found:
        wait(torch.ones(3, device="meta"))
    assert found.type is AssertionError or "meta" in str(found.value)
