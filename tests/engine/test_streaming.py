"""A stream equals the clip, in pieces delivered during decoding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from musicgen import errors
from musicgen.engine import engine as engine_module
from musicgen.engine.engine import STREAM_STEPS
from musicgen.engine.interface import DecodeProgress, EngineOutput, GenerationJob, Pcm, Row
from musicgen.engine.transformers_engine import TransformersEngine
from musicgen.model.config import MusicGenConfig
from musicgen.request import SamplingParams
from tests.support import engines

SAMPLED = SamplingParams(temperature=1.0, top_k=30, guidance=3.0)
FRAMES = 3 * STREAM_STEPS + 7


def _job(stream: bool, prompt: Pcm | None = None) -> GenerationJob:
    rows = tuple(Row(engines.PROMPTS[0], seed, SAMPLED) for seed in (5, 6))
    return GenerationJob(rows, FRAMES, audio_prompt=prompt, stream=stream)


def _run(job: GenerationJob, folder: Path) -> tuple[EngineOutput, list[DecodeProgress]]:
    output, seen = engines.run_with_progress(engines.engine(folder), job)
    return output, [each for each in seen if isinstance(each, DecodeProgress)]


@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-stereo-small", "three-codebooks"])
def test_the_pieces_of_each_row_join_to_its_whole_decode(
    checkpoints: Callable[[str], Path], name: str
) -> None:
    whole, silent = _run(_job(False), checkpoints(name))
    output, seen = _run(_job(True), checkpoints(name))
    assert not any(each.pcm for each in silent)
    np.testing.assert_array_equal(output.codes, whole.codes)
    for row in range(2):
        joined = np.concatenate([each.pcm[row] for each in seen if each.pcm])
        np.testing.assert_array_equal(joined, output.pcm[row])
        np.testing.assert_allclose(joined, whole.pcm[row], atol=1e-4)


def test_the_first_piece_comes_at_the_same_step_whatever_the_length(
    checkpoints: Callable[[str], Path],
) -> None:
    _, seen = _run(_job(True), checkpoints("musicgen-small"))
    heard = [each.done for each in seen if any(len(pcm) for pcm in each.pcm)]
    assert heard == [STREAM_STEPS, 2 * STREAM_STEPS, 3 * STREAM_STEPS, seen[-1].total]


def test_a_stream_of_a_continuation_begins_with_the_clip_that_is_continued(
    checkpoints: Callable[[str], Path],
) -> None:
    """Guards the count of delivered frames: those of the audio prompt are part of it."""
    prompt = np.sin(np.arange(20_000, dtype=np.float32) / 30)[:, None] * 0.5
    whole, _ = _run(_job(False, prompt), checkpoints("musicgen-small"))
    output, _ = _run(_job(True, prompt), checkpoints("musicgen-small"))
    np.testing.assert_allclose(output.pcm[0], whole.pcm[0], atol=1e-4)


def test_transformers_streams_a_clip_as_one_piece(checkpoints: Callable[[str], Path]) -> None:
    folder = checkpoints("musicgen-small")
    config = MusicGenConfig.from_folder(folder)
    engine = TransformersEngine.load(folder, config, "cpu", "float32")
    job = GenerationJob((Row("piano", 1, engines.greedy()),), 12, stream=True)
    output, seen = engines.run_with_progress(engine, job)
    pieces = [each.pcm for each in seen if isinstance(each, DecodeProgress) and each.pcm]
    assert len(pieces) == 1
    np.testing.assert_array_equal(pieces[0][0], output.pcm[0])


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("CUDA error: an illegal memory access was encountered", errors.DeviceFault),
        ("DefaultCPUAllocator: can't allocate memory: you tried", errors.OutOfMemory),
        ("size mismatch", RuntimeError),
    ],
)
def test_a_failing_device_is_told_apart_from_a_full_one_and_from_a_mistake(
    checkpoints: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    message: str,
    expected: type[Exception],
) -> None:
    """A worker is replaced after a device fault only."""

    def fail(*_: object) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(engine_module, "decode_waveform", fail)
    with pytest.raises(expected) as raised:
        _run(_job(False), checkpoints("musicgen-small"))
    assert type(raised.value) is expected
