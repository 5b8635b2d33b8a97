"""Generation in the native library: the bits of the PyTorch engine with its native step."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from musicgen.engine.interface import Row
from musicgen.engine.pytorch.decode_state import step_batch
from musicgen.errors import CheckpointMismatch, UnsupportedCheckpoint
from musicgen.model.delay_pattern import UNKNOWN
from musicgen.model.native.draws import NumpyDraws
from musicgen.model.native.generation import NativeDecoderModel, round_to_bfloat16
from musicgen.model.native.library import Library, load_library
from musicgen.model.native.step_file import find_step_file
from musicgen.model.native.window_state import NativeDecodeState, step_windows
from musicgen.request import SamplingParams
from tests.support import native_models
from tests.support.native_models import Windows

pytestmark = pytest.mark.skipif(load_library() is None, reason="no native library here")
FAMILIES = [
    "musicgen-small",
    "musicgen-stereo-medium",
    "musicgen-melody",
    "three-codebooks",
    "head-size-64",
]
PRECISIONS = ["float32", "bfloat16", "int8", "int4"]
ROWS = (
    Row("slow calm piano", 7, SamplingParams(top_k=20)),
    Row("", 8, SamplingParams(top_p=0.8, temperature=1.3), "noise and shouting voices"),
    Row("drums", 9, SamplingParams(temperature=0.0, guidance=1.0)),
    Row("", 2**32 + 5, SamplingParams(top_k=0)),
)
MORE_ROWS = (Row("a long and winding melody of strings", 11, SamplingParams(temperature=0.0)),)
Checkpoints = Callable[[str], Path]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_generation_has_the_bits_of_pytorch(
    checkpoints: Checkpoints, name: str, precision: str
) -> None:
    both = Windows(checkpoints(name), precision, ROWS, 12, 3)
    both.prefill(5)
    for done in range(both.torch.total_steps):
        assert np.array_equal(both.native.logits, both.torch.logits.numpy())
        assert both.native.steps_done == done
        both.torch.step()
        step_windows([both.native])
        assert np.array_equal(both.native.sequence, both.torch.sequence.numpy())
    assert both.native.is_finite() and both.native.steps_done == both.native.total_steps
    assert not (both.native.sequence == UNKNOWN).any()


@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-melody"])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_jobs_of_a_batch_have_the_bits_of_pytorch(
    checkpoints: Checkpoints, name: str, precision: str
) -> None:
    """Jobs of several lengths join and leave the batch."""
    folder = checkpoints(name)
    jobs = [Windows(folder, precision, ROWS, 9), Windows(folder, precision, MORE_ROWS, 4, 1)]
    late = Windows(folder, precision, ROWS[:1], 6, 2)
    for both in (*jobs, late):
        both.prefill()
    for step in range(30):
        running = [
            both
            for both in (*jobs, *([late] if step >= 3 else []))
            if both.torch.steps_done < both.torch.total_steps
        ]
        if not running:
            break
        step_batch([both.torch for both in running])
        step_windows([both.native for both in running])
    for both in (*jobs, late):
        assert both.native.steps_done == both.native.total_steps
        assert np.array_equal(both.native.sequence, both.torch.sequence.numpy())


def test_known_tokens_of_the_pattern_stay(checkpoints: Checkpoints) -> None:
    both = Windows(checkpoints("musicgen-small"), "float32", ROWS, 8, 2)
    template = both.native.sequence.copy()
    both.prefill()
    while both.native.steps_done < both.native.total_steps:
        step_windows([both.native])
    is_known = template != UNKNOWN
    assert np.array_equal(both.native.sequence[is_known], template[is_known])
    vocabulary = both.model.config.vocab_size
    assert (
        (both.native.sequence[~is_known] >= 0) & (both.native.sequence[~is_known] < vocabulary)
    ).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 5])
def test_logits_that_are_no_numbers_mark_only_their_job(
    checkpoints: Checkpoints, bad: float, row: int
) -> None:
    """Row 5 is an unconditional one."""
    folder = checkpoints("musicgen-small")
    broken, sound = (Windows(folder, "float32", ROWS, 5) for _ in range(2))
    for both in (broken, sound):
        both.prefill()
    broken.native.logits[row, 1, 3] = bad
    step_windows([broken.native, sound.native])
    sound.torch.step()
    assert not broken.native.is_finite() and sound.native.is_finite()
    assert np.array_equal(sound.native.sequence, sound.torch.sequence.numpy())
    assert (broken.native.sequence[:, :, 1] != UNKNOWN).all()


def test_a_weight_that_is_no_number_is_seen(checkpoints: Checkpoints) -> None:
    folder = checkpoints("musicgen-small")
    both = Windows(folder, "int8", ROWS, 5)
    arrays = dict(native_models.arrays(folder, "int8"))
    arrays["decoder.norm.weight"] = arrays["decoder.norm.weight"] * np.float32(np.nan)
    model = NativeDecoderModel(native_models.library(), both.model.config, arrays)
    window = both.native
    state = NativeDecodeState(
        model,
        [row.sampling for row in ROWS],
        window.conditioning,
        window.sequence,
        window.first_column,
        np.zeros((len(ROWS), window.total_steps, model.config.codebooks)),
    )
    state.prefill()
    while state.steps_done < state.total_steps:
        step_windows([state])
    assert not state.is_finite()


def test_weights_of_another_shape_are_refused(checkpoints: Checkpoints) -> None:
    folder = checkpoints("musicgen-small")
    arrays, config = (
        native_models.arrays(folder, "int8"),
        native_models.decoder(folder, "int8").config,
    )
    wider = dataclasses.replace(config, ffn_size=2 * config.ffn_size)
    with pytest.raises(CheckpointMismatch, match=r"layers\.0\.up\.weight must be int8"):
        NativeDecoderModel(native_models.library(), wider, arrays)
    without = {name: a for name, a in arrays.items() if name != "decoder.norm.bias"}
    with pytest.raises(CheckpointMismatch, match=r"decoder\.norm\.bias is missing"):
        NativeDecoderModel(native_models.library(), config, without)
    with pytest.raises(UnsupportedCheckpoint, match="does not support the activation silu"):
        NativeDecoderModel(
            native_models.library(), dataclasses.replace(config, activation="silu"), arrays
        )


def test_codes_outside_of_the_vocabulary_are_refused(checkpoints: Checkpoints) -> None:
    model = native_models.decoder(checkpoints("musicgen-small"), "float32")
    books, size = model.config.codebooks, model.config.vocab_size
    for token in (-1, size + 1):
        with pytest.raises(ValueError, match=f"tokens must be 0 to {size}"):
            model.embed(np.full((1, books, 2), token))


def test_bfloat16_is_rounded_as_by_pytorch() -> None:
    random = np.random.default_rng(0)
    bits = random.integers(0, 2**32, 100_000, np.uint32)
    # Ties between two neighbours, infinities and NaN.
    bits[:3000] = (bits[:3000] & 0xFFFF0000) | 0x8000
    bits[3000:3004] = [0x7F800000, 0xFF800000, 0x7F800001, 0x7F7FFFFF]
    values = bits.view(np.float32)
    wanted = torch.from_numpy(values).to(torch.bfloat16)
    found = round_to_bfloat16(values)
    is_nan = np.isnan(values)
    assert np.array_equal(found[~is_nan], wanted.view(torch.uint16).numpy()[~is_nan])
    assert np.isnan(native_models.as_float32(found[is_nan])).all()


@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-melody", "musicgen-stereo-medium"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_prompt_gives_the_tokens_of_pytorch(
    checkpoints: Checkpoints, name: str, precision: str
) -> None:
    """Prompts, draws and steps are all those of the native library."""
    both = Windows(checkpoints(name), precision, ROWS, 40)
    bins = both.chroma_bins
    conditioning = native_models.conditioner(checkpoints(name), precision).build(
        [row.prompt for row in ROWS],
        [row.negative_prompt for row in ROWS],
        both.native.conditioning.guided,
        np.eye(bins, dtype=np.float32) if bins else None,
    )
    template = both.native.sequence
    draws = NumpyDraws([row.seed for row in ROWS])
    state = NativeDecodeState(
        both.model,
        [row.sampling for row in ROWS],
        conditioning,
        template,
        both.native.first_column,
        draws.next(both.native.total_steps, template.shape[1]),
    )
    state.prefill()
    both.torch.prefill()
    while state.steps_done < state.total_steps:
        step_windows([state])
        both.torch.step()
    assert np.array_equal(state.sequence, both.torch.sequence.numpy())


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_threads_change_no_bit(checkpoints: Checkpoints, precision: str, threads: int) -> None:
    folder = checkpoints("musicgen-small")
    both = Windows(folder, precision, ROWS, 6)
    path = find_step_file()
    assert path is not None
    library = Library(path)
    library.threads = threads
    model = NativeDecoderModel(library, both.model.config, native_models.arrays(folder, precision))
    window = both.native
    state = NativeDecodeState(
        model,
        [row.sampling for row in ROWS],
        window.conditioning,
        window.sequence,
        window.first_column,
        NumpyDraws([row.seed for row in ROWS]).next(window.total_steps, window.sequence.shape[1]),
    )
    both.prefill()
    state.prefill()
    while state.steps_done < state.total_steps:
        step_windows([window])
        step_windows([state])
        assert np.array_equal(state.logits, window.logits)
    assert np.array_equal(state.sequence, window.sequence)


def test_generation_imports_no_torch() -> None:
    modules = "conditioner, draws, generation, text_encoder, window_state"
    code = (
        f"from musicgen.model.native import {modules}; import musicgen.model.chroma, sys; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
