"""Promises of an engine besides the right tokens: independence, progress, cancelling, errors."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen import errors
from musicgen.checkpoints.weights import load_model
from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.interface import GenerationJob, Row
from musicgen.engine.loading import load_engine
from musicgen.engine.pytorch.decode_state import DecodeState
from musicgen.engine.pytorch.loading import build_engine, load_checkpoint
from musicgen.engine.transformers_engine import TransformersEngine
from musicgen.model.config import MusicGenConfig
from musicgen.request import SamplingParams
from musicgen.settings import Settings
from tests.support import engines

SAMPLED = SamplingParams(temperature=1.0, top_k=30, guidance=3.0)


VARIED = ["musicgen-small", "musicgen-stereo-medium", "musicgen-melody", "three-codebooks"]
FLIPPED_CLIPS_ALLOWED = 1


@pytest.mark.parametrize("name", VARIED)
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_variations_equal_their_seeds_alone(
    checkpoints: Callable[[str], Path],
    name: str,
    precision: str,
    record_property: Callable[[str, object], None],
) -> None:
    """Draws are per row by construction, so only rounding at another batch size can differ.

    It can flip a token when a draw falls within rounding of a border. The test records the number
    of such clips; more than one is a fault.
    """
    engine = engines.engine(checkpoints(name), precision)
    seeds, prompts = list(range(8)), [engines.PROMPTS[0]] * 8
    together = engines.codes(engine, prompts, 40, SAMPLED, seeds=seeds)
    alone = torch.cat(
        [engines.codes(engine, prompts[:1], 40, SAMPLED, seeds=[seed]) for seed in seeds]
    )
    flipped = sum(not torch.equal(a, b) for a, b in zip(together, alone, strict=True))
    record_property("clips flipped by rounding, of 8", flipped)
    assert flipped <= FLIPPED_CLIPS_ALLOWED
    assert len({tuple(row.flatten().tolist()) for row in together}) == 8


@pytest.mark.parametrize("name", VARIED)
@engines.BOTH_FORMS
def test_nothing_but_rounding_tells_a_batch_from_a_clip_alone(
    checkpoints: Callable[[str], Path], name: str, compiled: bool
) -> None:
    """As long as the tokens agree, the guided logits of a row agree within 1e-4."""
    engine = engines.engine(checkpoints(name), compiled=compiled)
    rows = [Row(engines.PROMPTS[0], seed, SAMPLED) for seed in range(8)]
    together = _decode_state(engine, rows)
    alone = [_decode_state(engine, [row]) for row in rows]
    compared = 0
    for _ in range(together.total_steps):
        for i, single in enumerate(alone):
            if torch.equal(single.sequence[0], together.sequence[i]):
                torch.testing.assert_close(
                    single.apply_guidance()[0], together.apply_guidance()[i], atol=1e-4, rtol=0
                )
                compared += 1
            single.step()
        together.step()
    assert compared > 7 * together.total_steps


def _decode_state(engine: MusicGenEngine, rows: list[Row]) -> DecodeState:
    return engines.decode_state(engine, GenerationJob(tuple(rows), 20))


@settings(max_examples=12)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from([*engines.PROMPTS, "", "bells"]),
            st.integers(0, 2**32 - 1),
            st.sampled_from([0.0, 1.0]),
            st.sampled_from([1.0, 3.0]),
        ),
        min_size=2,
        max_size=5,
    ),
    name=st.sampled_from(["musicgen-small", "musicgen-stereo-melody"]),
)
def test_rows_of_any_mixture_equal_themselves_alone(
    checkpoints: Callable[[str], Path], rows: list[tuple[str, int, float, float]], name: str
) -> None:
    """Prompts of different lengths, none at all, with and without guidance, greedy or not."""
    engine = engines.engine(checkpoints(name))
    made = [Row(p, seed, SamplingParams(t, 20, 0.0, g)) for p, seed, t, g in rows]
    together = engines.run(engine, GenerationJob(tuple(made), 12)).codes
    same = [
        np.array_equal(together[i], engines.run(engine, GenerationJob((row,), 12)).codes[0])
        for i, row in enumerate(made)
    ]
    assert all(same)


@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-stereo-melody"])
def test_a_longer_clip_begins_like_a_shorter_one(
    checkpoints: Callable[[str], Path], name: str
) -> None:
    """Up to the delay: there the short clip's first codebooks have already ended."""
    engine = engines.engine(checkpoints(name))
    short = engines.codes(engine, ["piano"], 10, SAMPLED, seeds=[5])
    long = engines.codes(engine, ["piano"], 30, SAMPLED, seeds=[5])
    assert torch.equal(long[:, :, :7], short[:, :, :7])


def test_progress_grows_to_all_steps(checkpoints: Callable[[str], Path]) -> None:
    engine = engines.engine(checkpoints("musicgen-small"))
    job = GenerationJob((Row("piano", 1, SAMPLED),), 100)
    output, seen = engines.run_with_progress(engine, job)
    done = [p.done for p in seen]
    assert done == sorted(set(done)) and {25, 50, 75, 100, 103} <= set(done)
    assert {p.total for p in seen} == {103} == {output.steps}
    assert seen[-1].fraction == 1.0


def test_pcm_has_the_shape_and_the_frames_that_were_asked_for(
    checkpoints: Callable[[str], Path],
) -> None:
    """Guards against audio of shape (channels, time) and against mono in place of stereo."""
    engine = engines.engine(checkpoints("musicgen-stereo-small"))
    output = engines.run(engine, GenerationJob((Row("piano", 1, SAMPLED),), 10))
    (pcm,) = output.pcm
    assert pcm.shape == (6400, 2) and pcm.dtype == np.float32
    assert not np.allclose(pcm[:, 0], pcm[:, 1])
    assert output.codes.shape == (1, 8, 10)


def test_closing_a_job_ends_it_and_the_next_one_works(checkpoints: Callable[[str], Path]) -> None:
    engine = engines.engine(checkpoints("musicgen-small"))
    job = GenerationJob((Row("piano", 1, SAMPLED),), 100)
    expected = engines.run(engine, GenerationJob(job.rows, 5)).codes
    steps = engine.generate(job)
    assert 0 < next(steps).done < 100
    steps.close()
    with pytest.raises(StopIteration):
        next(steps)
    assert np.array_equal(engines.run(engine, GenerationJob(job.rows, 5)).codes, expected)


def test_threads_do_not_disturb_each_other(checkpoints: Callable[[str], Path]) -> None:
    engine = engines.engine(checkpoints("musicgen-small"))
    jobs = [GenerationJob((Row("piano", seed, SAMPLED),), 15) for seed in range(4)]
    expected = [engines.run(engine, job).codes for job in jobs]
    found: dict[int, np.ndarray] = {}
    threads = [
        threading.Thread(target=lambda i=i: found.update({i: engines.run(engine, jobs[i]).codes}))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(found[i], expected[i]) for i in range(4))


def test_a_generator_leaves_no_inference_mode_behind(checkpoints: Callable[[str], Path]) -> None:
    """Thread state held across a yield would switch gradients off for the caller."""
    engine = engines.engine(checkpoints("musicgen-small"))
    steps = engine.generate(GenerationJob((Row("piano", 1, SAMPLED),), 10))
    next(steps)
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_logits_are_an_error_never_noise(
    checkpoints: Callable[[str], Path], value: float
) -> None:
    folder = checkpoints("musicgen-small")
    config = MusicGenConfig.from_folder(folder)
    model = load_model(folder, config, torch.device("cpu"), torch.float32)
    model.decoder.heads.weight = torch.nn.Parameter(model.decoder.heads.weight.clone())
    model.decoder.heads.weight.data[5, 3] = value
    engine = build_engine(model, lambda _: [5, 1], "float32")
    with pytest.raises(errors.NonFiniteLogits, match=r"at or before step \d+ in float32") as raised:
        engines.run(engine, GenerationJob((Row("piano", 1, SAMPLED),), 10))
    # A slow machine checks before the last of its 13 steps too.
    assert 1 <= raised.value.step <= 13


def test_top_k_above_the_vocabulary_is_refused(checkpoints: Callable[[str], Path]) -> None:
    engine = engines.engine(checkpoints("vocab-32"))
    row = Row("piano", 1, SamplingParams(top_k=33))
    with pytest.raises(errors.InvalidTopK, match=r"must be at most 32.*\(was 33\)"):
        engines.run(engine, GenerationJob((row,), 10))


def test_the_default_top_k_fits_a_model_with_fewer_tokens(
    checkpoints: Callable[[str], Path],
) -> None:
    """Guards a refusal of what the caller never sent."""
    folder = checkpoints("vocab-32")
    oracle = load_engine(folder, "toy", Settings(engine="transformers", precision="float32"))
    for engine in (engines.engine(folder), oracle):
        default, whole = (
            engines.codes(engine, ["piano"], 10, sampling)
            for sampling in (SamplingParams(), SamplingParams(top_k=32))
        )
        assert torch.equal(default, whole)


def test_a_melody_is_refused_by_a_text_model(checkpoints: Callable[[str], Path]) -> None:
    """Guards against silently ignoring the melody."""
    engine = engines.engine(checkpoints("musicgen-small"))
    job = GenerationJob((Row("x", 1, SAMPLED),), 10, melody=np.zeros((9, 1), np.float32))
    with pytest.raises(errors.InvalidInputAudio, match="cannot be a melody here"):
        engines.run(engine, job)


@pytest.mark.parametrize("samples", [10 * 640, 10 * 640 - 1, 50000])
def test_an_audio_prompt_as_long_as_the_clip_is_refused(
    checkpoints: Callable[[str], Path], samples: int
) -> None:
    """Guards against an AssertionError as in peers."""
    engine = engines.engine(checkpoints("musicgen-small"))
    prompt = np.zeros((samples, 1), np.float32)
    job = GenerationJob((Row("x", 1, SAMPLED),), 10, audio_prompt=prompt)
    with pytest.raises(errors.InvalidInputAudio, match="shorter than duration"):
        engines.run(engine, job)


def test_closing_an_engine_frees_its_weights(checkpoints: Callable[[str], Path]) -> None:
    folder = checkpoints("musicgen-small")
    config = MusicGenConfig.from_folder(folder)
    engine = load_checkpoint(folder, config, "cpu", "float32")
    alive = [id(p) for p in engines.model_of(engine).parameters()]
    engine.close()
    gc.collect()
    left = {id(o) for o in gc.get_objects() if isinstance(o, torch.nn.Parameter)}
    assert not left & set(alive)
    with pytest.raises(RuntimeError, match="closed"):
        next(engine.generate(GenerationJob((Row("x", 1, SAMPLED),), 5)))


@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-stereo-melody"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_both_engines_agree_on_everything_but_the_speed(
    checkpoints: Callable[[str], Path], name: str, guidance: float
) -> None:
    folder = checkpoints(name)
    ours, theirs = engines.engine(folder), _transformers(folder)
    rows = tuple(Row(p, 3, engines.greedy(guidance)) for p in engines.PROMPTS)
    clip = np.random.default_rng(0).normal(0, 0.1, (3000, ours.config.channels))
    job = GenerationJob(rows, 12, audio_prompt=clip.astype(np.float32))
    expected, progress = engines.run_with_progress(theirs, job)
    actual = engines.run(ours, job)
    assert np.array_equal(actual.codes, expected.codes)
    for mine, other in zip(actual.pcm, expected.pcm, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)
    assert [p.done for p in progress] == list(range(1, progress[0].total + 1))


def test_transformers_samples_by_its_own_seed_and_can_be_cancelled(
    checkpoints: Callable[[str], Path],
) -> None:
    engine = _transformers(checkpoints("musicgen-small"))
    job = GenerationJob(tuple(Row("piano", seed, SAMPLED) for seed in (1, 2)), 10)
    first, again = engines.run(engine, job), engines.run(engine, job)
    assert np.array_equal(first.codes, again.codes)
    assert not np.array_equal(first.codes[0], first.codes[1])
    before = threading.active_count()
    steps = engine.generate(GenerationJob(job.rows, 200))
    next(steps)
    steps.close()
    assert threading.active_count() == before


def _transformers(folder: Path) -> TransformersEngine:
    return TransformersEngine.load(folder, MusicGenConfig.from_folder(folder), "cpu", "float32")
