"""Prompts and pieces of sound as graphs: uncaptured, and with stand-ins for the graphs."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from musicgen.engine.interface import GenerationJob, Row
from musicgen.engine.pytorch.cuda.codec import PieceGraph
from musicgen.engine.pytorch.cuda.graphs import SlotRunner
from musicgen.engine.pytorch.cuda.launch import LaunchOptions
from musicgen.engine.pytorch.cuda.prompts import BUCKETS, PromptGraphs
from musicgen.engine.pytorch.cuda.slots import RowSlots
from musicgen.engine.pytorch.loading import build_engine, load_checkpoint
from musicgen.model.codec_stream import CodecStream
from musicgen.model.config import MusicGenConfig
from musicgen.request import SamplingParams
from tests.support import engines
from tests.support.captures import StandInGraphs, break_captures

EVERYTHING = LaunchOptions(prompt_graphs=True, codec_graphs=True, codec_stream=True)
CODECS = (
    "musicgen-small",
    "musicgen-stereo-small",
    "three-codebooks",
    "one-lstm-layer",
    "causal-shortcut",
)
PIECE = 25


def _tokens(length: int) -> list[int]:
    return [3 + (7 * number + length) % 80 for number in range(length)]


@torch.inference_mode()
def _encode_alone(prompts: PromptGraphs, tokens: list[int]) -> torch.Tensor:
    return prompts._model.encode_text(torch.tensor([tokens]))


@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-melody"])
def test_padding_changes_no_state_of_a_prompt(
    checkpoints: Callable[[str], Path], name: str
) -> None:
    model = engines.model(checkpoints(name))
    prompts = PromptGraphs(model, capture=False)
    for length in (1, 2, *(bucket + more for bucket in BUCKETS for more in (-1, 0, 1))):
        found, wanted = prompts.encode(_tokens(length)), _encode_alone(prompts, _tokens(length))
        assert found.dtype == model.dtype
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_prompts_of_a_bucket_share_a_graph_but_no_result(
    checkpoints: Callable[[str], Path],
) -> None:
    prompts = PromptGraphs(engines.model(checkpoints("musicgen-small")), capture=False)
    captured = prompts.graphs = StandInGraphs()
    lengths = (3, 16, 9, 17, 5)
    made = [prompts.encode(_tokens(length)) for length in lengths]
    assert [graph.replays for graph in captured.made] == [4, 1]
    for length, states in zip(lengths, made, strict=True):
        wanted = _encode_alone(prompts, _tokens(length))
        torch.testing.assert_close(states, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CODECS)
def test_steady_pieces_of_two_clips_are_those_of_their_streams(
    checkpoints: Callable[[str], Path], name: str
) -> None:
    """The first piece, one of another length and the last run in the streams themselves."""
    model = engines.model(checkpoints(name))
    decoder, channels = model.config.decoder, model.config.channels
    graph = PieceGraph(model.codec, decoder.codebooks // channels, PIECE, capture=False)
    captured = graph.graphs = StandInGraphs()
    lengths = (22, 25, 25, 4, 25, 25)
    shape = (2, decoder.codebooks, sum(lengths))
    codes = torch.randint(
        model.config.codec.codebook_size, shape, generator=torch.manual_seed(4)
    ).split(lengths, dim=2)
    joined = [CodecStream(model.codec, channels, graph.push) for _ in range(2)]
    plain = [CodecStream(model.codec, channels) for _ in range(2)]
    for number, piece in enumerate(codes):
        for clip in range(2):
            last = number == len(codes) - 1
            found, wanted = (side[clip].push(piece[clip], last) for side in (joined, plain))
            torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)
    # Two clips with three steady pieces of the length each, and one side for each channel.
    assert [made.replays for made in captured.made] == [2 * 3 * channels]


@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-stereo-melody"])
def test_an_engine_with_all_graphs_makes_the_same_clip(
    checkpoints: Callable[[str], Path], name: str
) -> None:
    known = engines.engine(checkpoints(name), compiled=False)
    tokenize = engines.backend_of(known).tokenize
    engine = build_engine(engines.model_of(known), tokenize, "float32", launch=EVERYTHING)
    pieces = engines.backend_of(engine).codec.pieces
    assert pieces is not None
    captured = pieces.graphs = StandInGraphs()
    sampling = SamplingParams(1.0, 30, 0.0, 3.0)
    for prompts in (("piano", "drums and bass"), ("piano",)):
        rows = tuple(Row(prompt, seed, sampling) for seed, prompt in enumerate(prompts))
        job = GenerationJob(rows, 110, stream=True)
        found, wanted = engines.run(engine, job), engines.run(known, job)
        np.testing.assert_array_equal(found.codes, wanted.codes)
        np.testing.assert_allclose(found.pcm, wanted.pcm, atol=1e-5, rtol=0)
    assert captured.made[0].replays


def test_a_failed_capture_leaves_one_line_and_the_work_uncaptured(
    checkpoints: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = engines.model(checkpoints("musicgen-small"))
    prompts = PromptGraphs(model, capture=True)
    graph = PieceGraph(model.codec, model.config.decoder.codebooks, PIECE, capture=True)
    usual = break_captures(monkeypatch)
    for length in (5, 20, 6):
        wanted = _encode_alone(prompts, _tokens(length))
        torch.testing.assert_close(prompts.encode(_tokens(length)), wanted, atol=1e-5, rtol=1e-5)
    joined, plain = CodecStream(model.codec, 1, graph.push), CodecStream(model.codec, 1)
    for _ in range(4):
        codes = torch.randint(model.config.codec.codebook_size, (4, PIECE))
        torch.testing.assert_close(joined.push(codes, False), plain.push(codes, False))
    assert torch.cuda.current_stream() is usual
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition(" runs")[0] for line in lines] == [
        "CUDA graph capture failed; the text encoder",
        "CUDA graph capture failed; the codec",
    ]


def test_a_processor_ignores_launch_options_with_a_warning(
    checkpoints: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = checkpoints("musicgen-small")
    config = MusicGenConfig.from_folder(folder)
    engine = load_checkpoint(folder, config, "cpu", "float32", launch=EVERYTHING)
    backend = engines.backend_of(engine)
    assert backend.prompts is None
    assert backend.codec.pieces is None
    assert "MUSICGEN_GRAPHS and MUSICGEN_CODEC_STREAM have no effect on a CPU." in caplog.text


def test_a_closed_engine_frees_its_buffers_at_once(checkpoints: Callable[[str], Path]) -> None:
    """A cycle of references would keep a GPU's slots until some later garbage collection."""
    known = engines.engine(checkpoints("musicgen-small"), compiled=False)
    model, tokenize = engines.model_of(known), engines.backend_of(known).tokenize
    runner = SlotRunner(RowSlots(model.decoder, 4, 300, 24), capture=False)
    engine = build_engine(model, tokenize, "float32", rows=4, runner=runner, launch=EVERYTHING)
    sampling = SamplingParams(1.0, 30, 0.0, 3.0)
    engines.run(engine, GenerationJob((Row("piano", 1, sampling),), 110, stream=True))
    backend = engines.backend_of(engine)
    assert backend.prompts is not None
    assert backend.codec.pieces is not None
    buffers = backend.codec.pieces._buffers
    assert buffers is not None
    kept = [
        weakref.ref(tensor)
        for tensor in (runner.slots.cache.keys, backend.prompts._states, buffers._before)
    ]
    gc.disable()
    try:
        engine.close()
        del engine, backend, runner, buffers
        assert [reference() for reference in kept] == [None] * 3
    finally:
        gc.enable()
