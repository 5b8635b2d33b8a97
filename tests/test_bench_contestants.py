"""The contestants of the benches: who runs, and whether the converted graph is the same step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import graph_contestants
from bench.full_size import build_full_size
from bench.graph_contestants import select_installed
from bench.precision import Case, build_sequence, logits
from bench.previous import add_previous, start
from bench.roofline import bytes_of_step, count_cached_bytes
from bench.slot_logits import build_runner, compute_slot_logits
from bench.step_graph import (
    Array,
    StepGraph,
    Subject,
    build_example,
    check_step,
    compute_reference,
    load_subject,
    run_clip,
)
from musicgen.engine.pytorch.cuda.kernels.options import KernelOptions
from musicgen.engine.pytorch.loading import build_engine
from musicgen.model.tokenizer import load_tokenizer
from tests.support import engines


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = tmp_path_factory.mktemp("bench") / "toy"
    build_full_size("toy", folder)
    return load_subject(folder)


class GraphStep:
    """The step as a runtime would run it: the outputs of a call are the next one's cache."""

    def __init__(self, subject: Subject) -> None:
        self._graph = StepGraph(subject.decoder, 100)
        self._empty = build_example(subject, past=0)[2:]
        self._past, self.lengths = self._empty, list[int]()

    @torch.inference_mode()
    def __call__(self, tokens: Array, position: int) -> Array:
        if position == 0:
            self._past = self._empty
        inputs = (torch.from_numpy(tokens), torch.tensor([position]))
        logits, *present = self._graph(*inputs, *self._past)
        self._past = (*present, *self._empty[len(present) :])
        self.lengths.append(present[0].shape[2])
        array: Array = logits.numpy()
        return array


def test_the_graph_has_the_logits_of_the_decoder(subject: Subject) -> None:
    error = check_step(GraphStep(subject), compute_reference(subject), "float32")
    assert error < 1e-5


def test_a_step_without_its_past_is_refused(subject: Subject) -> None:
    step = GraphStep(subject)

    def forget(tokens: Array, position: int) -> Array:
        step(tokens, 0)
        return step(tokens, position)

    with pytest.raises(AssertionError, match="not the same logits"):
        check_step(forget, compute_reference(subject), "int8")


def test_a_clip_feeds_a_cache_of_growing_length(subject: Subject) -> None:
    step, config = GraphStep(subject), subject.model.config
    codes, seconds = run_clip(step, config, frames=10, seed=0)
    assert step.lengths == list(range(1, 10 + config.decoder.codebooks))
    assert codes.shape == (config.decoder.codebooks, 10)
    assert 0 <= codes.min() <= codes.max() < config.decoder.vocab_size
    assert seconds > 0
    assert np.array_equal(codes, run_clip(step, config, frames=10, seed=0)[0])


def test_contestants_that_are_not_installed_are_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(graph_contestants, "find_spec", lambda name: None)
    assert select_installed(["packed int8", "openvino int8"], "cpu") == ["packed int8"]
    assert "openvino int8 is left out: openvino is not installed" in capsys.readouterr().out


def test_the_previous_build_follows_each_form_once(tmp_path: Path) -> None:
    names = ["musicgen int8", "packed int8", "transformers float32", "native int16"]
    expected = ["musicgen int8", "previous int8", *names[1:], "previous native int16"]
    assert add_previous(names, tmp_path) == expected
    assert add_previous(names, None) == names
    with pytest.raises(FileNotFoundError, match="no folder"):
        add_previous(names, tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        start(tmp_path, "bench.decode", "contestant", ())


def test_steps_in_slots_have_the_logits_of_the_decoder(checkpoints: Callable[[str], Path]) -> None:
    """The reference of an 8-bit cache's cost must be exact but for the cache."""
    folder = checkpoints("musicgen-small")
    model, tokenize = engines.model(folder), load_tokenizer(folder)
    codes = torch.randint(model.config.decoder.vocab_size, (model.config.decoder.codebooks, 20))
    case = Case(tokenize("piano"), build_sequence(model, codes))
    wanted, errors = logits(model, case, 2), {}
    for form in ("", "int8"):
        runner, rows = build_runner(model, "cpu", 2, KernelOptions(kv_cache=form))
        engine = build_engine(model, tokenize, "float32", rows=rows, runner=runner)
        found = compute_slot_logits(engine, case)
        errors[form] = float((found - wanted).norm() / wanted.norm())
    assert errors[""] < 1e-5
    assert 1e-5 < errors["int8"] < 0.05


def test_bytes_of_a_step_count_the_cache_of_each_engine(subject: Subject) -> None:
    config = subject.decoder.config
    sizes = {
        name: bytes_of_step(config, "int8", 100, cached_bytes=count_cached_bytes(name))
        for name in ("openvino int8", "packed int8", "previous int8", "onnxruntime int8")
    }
    cached = 2 * config.layers * config.hidden_size * 100 * 2
    assert sizes["packed int8"] - sizes["openvino int8"] == cached * 4 / 64
    assert sizes["previous int8"] - sizes["openvino int8"] == cached
    assert sizes["onnxruntime int8"] - sizes["openvino int8"] == 3 * cached
    assert count_cached_bytes("musicgen-kernels bfloat16") == 2
    assert count_cached_bytes("musicgen-int8-cache bfloat16") == 1 + 4 / 64
