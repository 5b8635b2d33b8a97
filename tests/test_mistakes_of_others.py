"""What other servers of MusicGen get wrong, each as a test on our predictor from end to end.

Elsewhere: the platforms' tests for statuses of errors, `Accept` headers and cancelling, the pool of
models for their number, normalization for silence.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from musicgen import errors
from musicgen.engine.interface import GenerationJob, Row
from musicgen.engine.pytorch.sampling import SamplingParams
from musicgen.predictor import Predictor
from musicgen.predictor.prepare import prepare
from musicgen.request import GenerationRequest
from musicgen.request.limits import SEED_MAX
from musicgen.settings import Settings
from tests.support.clips import tone_file
from tests.support.engines import run

RATE = 32_000
Load = Callable[[str], Predictor]


@pytest.fixture(scope="module")
def load(
    checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Predictor]:
    loaded: dict[str, Predictor] = {}

    def predictor(name: str) -> Predictor:
        if name not in loaded:
            model = name if name == "demo" else str(checkpoints(name))
            out = tmp_path_factory.mktemp("clips")
            loaded[name] = Predictor.load(Settings(model=model, data_dir=out, precision="float32"))
        return loaded[name]

    return predictor


def _request(**fields: object) -> GenerationRequest:
    usual = {"prompt": "slow calm piano", "duration": 0.5, "seed": 7, "top_k": 50}
    return GenerationRequest(**usual | fields)


def _pcm(path: str) -> np.ndarray:
    return sf.read(path, dtype="float32", always_2d=True)[0]


def test_seed_0_is_a_seed(load: Load) -> None:
    """`if not seed` makes it a random one."""
    demo = load("demo")
    first, again = (demo.generate(_request(seed=0)) for _ in range(2))
    assert first.seed == again.seed == 0
    assert first.clips[0].sha256 == again.clips[0].sha256


def test_a_random_seed_is_never_negative(load: Load) -> None:
    """`torch.seed() % 2**32 - 1` is -1 once in four billion."""
    assert GenerationRequest.from_mapping({"prompt": "x", "seed": -1}).seed is None
    assert 0 <= load("demo").generate(_request(seed=None)).seed <= SEED_MAX
    assert _request(seed=-1).seed is None
    with pytest.raises(errors.InvalidSeed):
        _request(seed=-2)


def test_a_loaded_model_needs_its_files_no_more(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    """Reading the checkpoint again for every request would find nothing here."""
    folder = tmp_path / "model"
    shutil.copytree(checkpoints("musicgen-small"), folder)
    predictor = Predictor.load(Settings(model=str(folder), data_dir=tmp_path / "out"))
    before = predictor.generate(_request())
    shutil.rmtree(folder)
    assert predictor.generate(_request()).clips[0].sha256 == before.clips[0].sha256


def test_no_clip_takes_the_place_of_another_or_lands_in_the_working_directory(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`out.wav` of the last request is not the answer of this one."""
    monkeypatch.chdir(tmp_path)
    results = [load("demo").generate(_request(seed=seed, variations=2)) for seed in (1, 5)]
    addresses = [clip.address for result in results for clip in result.clips]
    assert len(set(addresses)) == 4
    assert all(Path(address).is_file() for address in addresses)
    assert not list(tmp_path.iterdir())


def test_an_mp3_has_the_bitrate_that_was_asked_for(load: Load) -> None:
    """And not what a converter takes by default."""
    sizes = [
        load("demo")
        .generate(_request(duration=4, output_format="mp3", bitrate=rate))
        .clips[0]
        .bytes
        for rate in (64, 320)
    ]
    assert sizes[1] / sizes[0] == pytest.approx(5, rel=0.15)


def test_a_melody_is_used_whole_unless_a_part_is_named(load: Load, tmp_path: Path) -> None:
    path = tone_file(tmp_path / "tune.wav", 3.0, RATE)
    config = load("musicgen-melody").engine.config
    parts = {"continuation_start": 1.0}, {"continuation_end": 2.0}
    for part, seconds in (({}, 3), (parts[0], 2), (parts[1], 2)):
        melody = prepare(_request(input_audio=path, **part), 7, config).job.melody
        assert melody is not None and len(melody) == seconds * RATE


@pytest.mark.parametrize("seconds", [29.99, 30.0, 31.0])
def test_a_clip_of_a_window_or_more_is_continued(
    load: Load, tmp_path: Path, seconds: float
) -> None:
    """An assertion fails there elsewhere."""
    path = tone_file(tmp_path / "long.wav", seconds, RATE)
    request = _request(input_audio=path, continuation=True, duration=seconds + 0.5)
    clip = load("demo").generate(request).clips[0]
    assert clip.samples == round((seconds + 0.5) * RATE)


def test_a_clip_as_long_as_the_music_is_refused_in_words(load: Load, tmp_path: Path) -> None:
    path = tone_file(tmp_path / "clip.wav", 0.5, RATE)
    with pytest.raises(errors.InvalidInputAudio, match="shorter than duration"):
        load("demo").generate(_request(input_audio=path, continuation=True))


@pytest.mark.parametrize("prompts", [1, 2, 4])
def test_a_melody_is_for_any_number_of_prompts(load: Load, tmp_path: Path, prompts: int) -> None:
    """`melody.expand(3, -1, -1)` is for three."""
    path = tone_file(tmp_path / "tune.wav", 1.0, RATE)
    texts = [f"prompt {number}" for number in range(prompts)]
    request = _request(prompt="", prompts=texts, input_audio=path, duration=0.1)
    assert len(load("musicgen-melody").generate(request).clips) == prompts


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped", "a/b", "..", "a\0b"])
def test_no_name_of_the_caller_s_is_opened_for_writing(load: Load, name: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        load("demo").generate(_request(), job_id=name)


def test_sections_go_on_from_each_other(load: Load) -> None:
    """Arguments in the wrong order, and an exception swallowed, make each one from nothing."""
    second_parts = []
    for first in ("calm piano", "drums"):
        sections = [{"prompt": first, "duration": 1.0}, {"prompt": "bells", "duration": 1.0}]
        request = GenerationRequest.from_mapping({"sections": sections, "seed": 3})
        second_parts.append(_pcm(load("demo").generate(request).clips[0].address)[RATE:])
    assert not np.array_equal(*second_parts)


def test_a_melody_sounds_the_same_from_any_sampling_rate(load: Load, tmp_path: Path) -> None:
    """A rate that is thrown away, and 32,000 said instead, moves every note."""
    predictor = load("musicgen-melody")
    clips = []
    for rate in (32_000, 48_000):
        path = tone_file(tmp_path / f"{rate}.wav", 2.0, rate, hertz=440.0)
        clips.append(_pcm(predictor.generate(_request(input_audio=path)).clips[0].address))
    other = tone_file(tmp_path / "other.wav", 2.0, 32_000, hertz=440.0 * 1.5)
    third = _pcm(predictor.generate(_request(input_audio=other)).clips[0].address)
    assert np.array_equal(*clips)
    assert not np.array_equal(clips[0], third)


def test_stereo_keeps_both_channels_apart_and_in_order(load: Load) -> None:
    """Channel 0 alone, or (channels, time) where (time, channels) is meant."""
    predictor = load("musicgen-stereo-small")
    request = _request(duration=1.0, bit_depth="float", normalization_strategy="none")
    clip = predictor.generate(request).clips[0]
    pcm = _pcm(clip.address)
    assert clip.channels == 2 and pcm.shape == (RATE, 2)
    job = GenerationJob(
        rows=(Row("slow calm piano", 7, SamplingParams(1.0, 50, 0.0, 3.0)),), frames=50
    )
    made = run(predictor.engine, job).pcm[0]
    assert np.allclose(pcm, made, atol=1e-5)
    assert not np.allclose(pcm[:, 0], pcm[:, 1], atol=1e-3)


def test_the_answer_says_its_sampling_rate(load: Load) -> None:
    clip = load("demo").generate(_request()).clips[0]
    assert clip.sample_rate == sf.info(clip.address).samplerate == RATE


@pytest.mark.parametrize("duration", [0.1, 1.01, 4.999, 8.013, 30.01])
def test_the_length_is_exact_also_of_fractions_and_beyond_the_window(
    load: Load, duration: float
) -> None:
    """40 tokens a second, or a crash past 30 seconds, elsewhere."""
    clip = load("demo").generate(_request(duration=duration)).clips[0]
    assert clip.samples == sf.info(clip.address).frames == round(duration * RATE)


def test_a_prompt_of_any_length_is_taken(load: Load) -> None:
    """Graphs for 1 to 20 tokens, and a KeyError beyond."""
    prompt = " ".join(["piano"] * 150)
    assert load("demo").generate(_request(prompt=prompt, duration=0.2)).clips


def test_the_guidance_that_was_asked_for_is_used(load: Load) -> None:
    """Two-step guidance takes the model's own instead."""
    hashes = {
        load("demo").generate(_request(classifier_free_guidance=scale)).clips[0].sha256
        for scale in (1.0, 1.5, 3.0, 6.0)
    }
    assert len(hashes) == 4


def test_progress_never_passes_its_end(load: Load) -> None:
    generation = load("demo").start(_request(duration=17.3))
    fractions = [progress.fraction for progress in generation]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
