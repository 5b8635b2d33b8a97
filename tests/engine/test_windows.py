"""Clips longer than the model's window."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.engine.engine import STREAM_STEPS, MusicGenEngine
from musicgen.engine.interface import DecodeProgress, GenerationJob, PromptSpan, Row, plan_job
from musicgen.engine.pytorch import backend
from musicgen.engine.pytorch.loading import load_checkpoint
from musicgen.engine.sequence import repeat_melody
from musicgen.engine.windows import Window, compute_stride_frames, plan_windows
from musicgen.model.chroma import compute_chroma
from musicgen.model.config import MusicGenConfig
from musicgen.request import SamplingParams
from tests.support import engines, oracle
from tests.support.oracle import Oracle

FRAME_RATE, WINDOW, CONTEXT = 50, 1500, 600
SMALL = 40
"""Frames of a window, small for speed; its stride is 24, its context 16."""
SAMPLED = SamplingParams(temperature=1.0, top_k=30, guidance=3.0)
LONG = GenerationJob((Row(engines.PROMPTS[0], 5, SAMPLED),), 100)


def _plan_like_audiocraft(
    seconds: float, prompt: int, stride_seconds: int
) -> list[tuple[int, int, int]]:
    """Return (start, context, length) of each window as in audiocraft's loop."""
    total, stride = int(seconds * FRAME_RATE), FRAME_RATE * stride_seconds
    start, known, plan = 0, prompt, []
    while start + known < total:
        length = int(min(seconds - start / FRAME_RATE, 30) * FRAME_RATE)
        plan.append((start, known, length))
        known = length - stride
        start += stride
    return plan


@pytest.mark.parametrize("prompt", [0, 1, 250, 1499])
@pytest.mark.parametrize("stride", [1, 5, 10, 15, 18, 20, 25, 29])
def test_the_plan_is_the_published_one_for_whole_seconds(stride: int, prompt: int) -> None:
    for seconds in range(30, 301):
        plan = plan_windows([seconds * FRAME_RATE], prompt, WINDOW, stride * FRAME_RATE)
        found = [(each.start, each.context, each.length) for each in plan]
        assert found == _plan_like_audiocraft(seconds, prompt, stride), seconds


def test_new_frames_of_a_minute() -> None:
    assert [each.new_frames for each in plan_windows([3000], 0, WINDOW, 900)] == [1500, 900, 600]


def test_every_hundredth_of_a_second_gets_all_its_frames() -> None:
    """Guards the rounding of seconds: audiocraft fails at 36.08 s and makes 30.06 s too short."""
    for hundredths in range(3001, 30001):
        frames = -(-hundredths // 2)
        plan = plan_windows([frames], 0, WINDOW, 900)
        assert sum(each.new_frames for each in plan) == frames
        assert plan[-1].end == frames


@given(
    lengths=st.lists(st.integers(1, 4000), min_size=1, max_size=6),
    prompt=st.integers(0, 6000),
    window=st.integers(2, 1500),
    data=st.data(),
)
def test_a_plan_makes_every_frame_once_and_hears_what_it_may(
    lengths: list[int], prompt: int, window: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, window - 1))
    ends = list(itertools.accumulate(lengths, initial=prompt))[1:]
    plan = plan_windows(ends, prompt, window, stride)
    known = prompt
    for each in plan:
        assert each.start + each.context == known
        assert each.new_frames >= 1
        assert each.length <= window
        assert each.end <= ends[each.span], "a section's prompt is not heard after its end"
        assert known >= (ends[each.span - 1] if each.span else prompt)
        if each.start:
            assert each.context == window - stride
        known = each.end
    assert known == ends[-1]


@pytest.mark.parametrize("prompt", [1500, 1501, 2999])
def test_a_prompt_that_fills_the_window_leaves_room(prompt: int) -> None:
    """Guards against a failure of audiocraft: the prompt is as long as the window."""
    [first, *_] = plan_windows([3000], prompt, WINDOW, 900)
    assert first == Window(prompt - CONTEXT, CONTEXT, min(WINDOW, 3000 - prompt + CONTEXT))


def test_a_stride_is_in_proportion_to_the_window() -> None:
    assert compute_stride_frames(18, WINDOW) == 900
    assert compute_stride_frames(18, 400) == 240
    assert compute_stride_frames(29.99, 4) == 3
    assert compute_stride_frames(0.01, 4) == 1


def _engine(folder: Path, precision: str = "float32", window: int = SMALL) -> MusicGenEngine:
    config = replace(MusicGenConfig.from_folder(folder), window_frames=window)
    return load_checkpoint(folder, config, "cpu", precision)


@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-stereo-small", "three-codebooks"])
def test_each_window_is_what_transformers_makes_of_its_context(
    checkpoints: Callable[[str], Path], oracles: Callable[[str], Oracle], name: str
) -> None:
    engine, prompt = _engine(checkpoints(name)), engines.PROMPTS[0]
    found = engines.codes(engine, [prompt], 100, engines.greedy())
    expected = _by_transformers(oracles(name), engine, [prompt, prompt], 100)
    assert torch.equal(found, expected)


def _by_transformers(
    theirs: Oracle, engine: MusicGenEngine, prompts: Sequence[str], frames: int
) -> torch.Tensor:
    job = GenerationJob((Row(prompts[0], 0, engines.greedy()),), frames)
    known = torch.zeros(1, engine.config.decoder.codebooks, 0, dtype=torch.int64)
    for window in plan_job(job, engine.config):
        context = known[:, :, window.start :]
        made = oracle.greedy_tokens(
            theirs.model,
            theirs.tokenizer,
            [prompts[0]],
            window.length,
            3.0,
            audio_codes=context if context.shape[2] else None,
        )
        known = torch.cat([known, made[:, :, window.context :]], dim=2)
    return known


def test_a_melody_goes_on_from_window_to_window_and_begins_again_at_its_end(
    checkpoints: Callable[[str], Path], oracles: Callable[[str], Oracle]
) -> None:
    """Guards against conditioning every window on the beginning of the melody."""
    name, prompt = "musicgen-melody", engines.PROMPTS[0]
    engine, theirs = _engine(checkpoints(name)), oracles(name)
    time = np.arange(50_000, dtype=np.float32) / 32_000
    melody = np.sin(2 * np.pi * (200 + 300 * time) * time).astype(np.float32)[:, None]
    found = engines.codes(engine, [prompt], 90, engines.greedy(), melody=melody)
    hop = engine.config.codec.hop_length
    job = GenerationJob((Row(prompt, 0, engines.greedy()),), 90)
    repeats = engine.config.chroma_frames
    known = torch.zeros(1, engine.config.decoder.codebooks, 0, dtype=torch.int64)
    for window in plan_job(job, engine.config):
        twice = np.concatenate([melody] * 4)
        heard = twice[window.start * hop :][: SMALL * hop]
        chroma = torch.from_numpy(compute_chroma(heard, engine.config))
        chroma = chroma.repeat(repeats, 1)[:repeats]
        context = known[:, :, window.start :]
        made = oracle.greedy_tokens(
            theirs.model,
            theirs.tokenizer,
            [prompt],
            window.length,
            3.0,
            audio_codes=context if context.shape[2] else None,
            chroma=chroma[None],
        )
        known = torch.cat([known, made[:, :, window.context :]], dim=2)
    assert torch.equal(found, known)


@given(st.integers(1, 50), st.integers(0, 200), st.integers(1, 90))
def test_a_melody_from_anywhere(length: int, start: int, wanted: int) -> None:
    melody = np.arange(length, dtype=np.float32)[:, None]
    found = repeat_melody(melody, start, wanted)[:, 0]
    np.testing.assert_array_equal(found, (np.arange(wanted) + start) % length)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_longer_clip_begins_like_a_shorter_one(
    checkpoints: Callable[[str], Path], precision: str
) -> None:
    """Except for its very end: there the later codebooks attend to the end of the earlier ones."""
    engine = _engine(checkpoints("musicgen-small"), precision)
    whole, delay = engines.run(engine, LONG).codes, engine.config.decoder.codebooks - 1
    for frames in (30, 55, 64, 80):
        part = engines.run(engine, replace(LONG, frames=frames)).codes
        same = frames - delay
        np.testing.assert_array_equal(part[:, :, :same], whole[:, :, :same])


def test_progress_counts_all_windows_and_never_goes_back(
    checkpoints: Callable[[str], Path],
) -> None:
    """Guards against a progress of 397 %, as in audiocraft."""
    engine = _engine(checkpoints("musicgen-small"))
    output, seen = engines.run_with_progress(engine, LONG)
    delay = engine.config.decoder.codebooks - 1
    windows = len(plan_job(LONG, engine.config))
    assert {each.total for each in seen} == {output.steps} == {100 + windows * delay}
    done = [each.done for each in seen]
    assert done == sorted(set(done)) and done[-1] == output.steps


def test_a_stream_is_one_sound_over_all_windows(checkpoints: Callable[[str], Path]) -> None:
    """Guards against an audible restart of the codec in each window."""
    engine = _engine(checkpoints("musicgen-stereo-small"))
    whole = engines.run(engine, LONG).pcm[0]
    output, seen = engines.run_with_progress(engine, replace(LONG, stream=True))
    pieces = [each.pcm[0] for each in seen if isinstance(each, DecodeProgress) and each.pcm]
    assert len(pieces) > 100 // STREAM_STEPS
    np.testing.assert_array_equal(np.concatenate(pieces), output.pcm[0])
    np.testing.assert_allclose(output.pcm[0], whole, atol=1e-4)


def test_variations_and_prompts_of_a_long_clip_are_those_alone(
    checkpoints: Callable[[str], Path],
) -> None:
    engine = _engine(checkpoints("musicgen-small"), "int8")
    rows = tuple(Row(prompt, seed, SAMPLED) for seed, prompt in enumerate(engines.PROMPTS))
    together = engines.run(engine, GenerationJob(rows, 90)).codes
    for index, row in enumerate(rows):
        alone = engines.run(engine, GenerationJob((row,), 90)).codes
        np.testing.assert_array_equal(together[index], alone[0])


def test_a_section_has_its_own_prompt_and_goes_on_from_the_one_before(
    checkpoints: Callable[[str], Path], oracles: Callable[[str], Oracle]
) -> None:
    engine, theirs = _engine(checkpoints("musicgen-small")), oracles("musicgen-small")
    first, second = engines.PROMPTS
    row = Row("not heard", 0, engines.greedy())
    spans = (PromptSpan(first, 30), PromptSpan(second, 25))
    found = engines.run(engine, GenerationJob((row,), 55, spans=spans)).codes
    alone = oracle.greedy_tokens(theirs.model, theirs.tokenizer, [first], 30, 3.0)
    context = alone[:, :, 30 - 16 :]
    length = SMALL
    then = oracle.greedy_tokens(
        theirs.model, theirs.tokenizer, [second], length, 3.0, audio_codes=context
    )
    rest = oracle.greedy_tokens(
        theirs.model,
        theirs.tokenizer,
        [second],
        16 + 1,
        3.0,
        audio_codes=then[:, :, length - 16 :],
    )
    expected = torch.cat([alone, then[:, :, 16:], rest[:, :, 16:]], dim=2)
    assert torch.equal(torch.from_numpy(found), expected)


def test_a_section_without_a_prompt_among_others(checkpoints: Callable[[str], Path]) -> None:
    """It needs fewer rows than the others; the job reserves the maximum."""
    engine = _engine(checkpoints("musicgen-small"))
    spans = (PromptSpan("", 20), PromptSpan("bells", 20), PromptSpan("", 20))
    row = Row("", 1, SAMPLED)
    output = engines.run(engine, GenerationJob((row,), 60, spans=spans))
    assert output.codes.shape[2] == 60


def test_only_one_window_is_in_memory(
    checkpoints: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a KV cache per window: ten of them for a clip of 300 s."""
    engine, alive, most = _engine(checkpoints("musicgen-small")), [0], [0]

    class Counted(backend.DecodeState):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[arg-type]
            alive[0] += 1
            most[0] = max(most[0], alive[0])

        def __del__(self) -> None:
            alive[0] -= 1

    monkeypatch.setattr(backend, "DecodeState", Counted)
    engines.run(engine, replace(LONG, frames=200))
    assert most[0] == 1


def test_cancelling_in_a_later_window_frees_the_place(checkpoints: Callable[[str], Path]) -> None:
    engine = _engine(checkpoints("musicgen-small"))
    steps = engine.generate(LONG)
    while next(steps).done < 60:
        pass
    steps.close()
    assert engine._batch._scheduler.active_rows == 0
    assert engines.run(engine, LONG).codes.shape[2] == 100


@settings(max_examples=10, deadline=None)
@given(frames=st.integers(41, 130), stride=st.floats(0.5, 29.5))
def test_any_length_and_stride_gives_all_frames(
    checkpoints: Callable[[str], Path], frames: int, stride: float
) -> None:
    folder = checkpoints("one-layer")
    config = replace(MusicGenConfig.from_folder(folder), window_frames=SMALL)
    engine = load_checkpoint(folder, config, "cpu", "int8")
    output = engines.run(engine, replace(LONG, frames=frames, stride_seconds=stride))
    assert output.codes.shape[2] == frames
    assert len(output.pcm[0]) == frames * config.codec.hop_length


@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-melody"])
def test_guidance_leads_away_from_the_negative_prompt(
    checkpoints: Callable[[str], Path], name: str
) -> None:
    engine = engines.engine(checkpoints(name))
    wanted, avoided = engines.PROMPTS
    plain = SamplingParams(temperature=0.0, top_k=1, guidance=1.0)
    one, other, both = (
        engines.decode_state(engine, GenerationJob((row,), 8)).apply_guidance()
        for row in (
            Row(wanted, 0, plain),
            Row(avoided, 0, plain),
            Row(wanted, 0, engines.greedy(2.5), negative_prompt=avoided),
        )
    )
    torch.testing.assert_close(both, other + (one - other) * 2.5, atol=1e-4, rtol=1e-4)
