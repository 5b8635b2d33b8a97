"""How probable given music is: the same nats as transformers' own logits say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
import torch.nn.functional as F

from musicgen.errors import InvalidInputAudio, SettingsError
from musicgen.evaluation.evaluate import EvaluationPlan, evaluate
from musicgen.evaluation.likelihood import DescribedClip, measure_likelihood, read_music
from musicgen.settings import Settings
from tests.support import engines, oracle
from tests.support.clips import wav
from training.held_out import write_held_out

RATE = 32_000


@pytest.mark.parametrize("prompt", ["a calm piano", ""])
@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-stereo-medium", "musicgen-melody"])
def test_the_nats_are_those_of_transformers_logits(
    checkpoints: Callable[[str], Path], name: str, prompt: str
) -> None:
    folder = checkpoints(name)
    engine, model = engines.engine(folder), oracle.load(folder)
    channels = engine.config.channels
    rng = np.random.default_rng(3)
    pcm = rng.uniform(-0.3, 0.3, (RATE // 2, channels)).astype(np.float32)
    codes = oracle.encodec_encode(model, torch.from_numpy(pcm.T.copy())[None])
    tokens = oracle.delayed(model, codes)
    if prompt:
        tokenizer = oracle.load_tokenizer(folder)
        logits = oracle.teacher_forced_logits(model, tokenizer, [prompt], tokens[..., :-1])
        start = engine.config.decoder.start_token
        targets, books = tokens[0, :, 1:], codes.shape[1]
        wanted = [
            F.cross_entropy(logits[0, k][targets[k] != start], targets[k][targets[k] != start])
            for k in range(books)
        ]
        found = engine.negative_log_likelihood(prompt, pcm)
        np.testing.assert_allclose(found, torch.stack(wanted), rtol=1e-4)
    else:
        found = engine.negative_log_likelihood("", pcm)
        assert not np.allclose(found, engine.negative_log_likelihood("a calm piano", pcm))
    assert found.shape == (codes.shape[1],)


def test_each_clip_meets_its_own_prompt_none_and_another() -> None:
    music = [DescribedClip(name, np.full((1, 1), i, np.float32)) for i, name in enumerate("abc")]
    asked = []

    def score(prompt: str, pcm: np.ndarray) -> np.ndarray:
        asked.append((prompt, int(pcm[0, 0])))
        return np.array([1.0, 3.0]) if prompt == "abc"[int(pcm[0, 0])] else np.array([4.0, 6.0])

    found = measure_likelihood(music, score, lambda _done, _total: None)
    assert asked == [(p, i) for i, own in enumerate("abc") for p in (own, "", "cab"[i])]
    assert (found.clips, found.own_prompt.mean, found.no_prompt.mean) == (3, 2.0, 5.0)
    assert found.own_prompt.codebooks == (1.0, 3.0)
    assert found.another_prompt.interval == (5.0, 5.0)


def test_held_out_music_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_held_out(tmp_path, 2)
    first, second = read_music(tmp_path, RATE, 1)
    assert first.pcm.shape == (4 * RATE, 1) and first.prompt != second.prompt
    stereo = read_music(tmp_path, 16_000, 2)
    assert stereo[0].pcm.shape == (2 * RATE, 2)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputAudio, match="two or more pairs"):
        read_music(tmp_path, RATE, 1)
    # The name stands at the end of a path, so a long path is cut at its beginning.
    folder = tmp_path / ("a" * 100)
    folder.mkdir()
    (folder / "tune.txt").write_text("slow piano")
    with pytest.raises(InvalidInputAudio, match=r"needs an audio file .*tune\.txt"):
        read_music(folder, RATE, 1)
    (folder / "tune.wav").write_bytes(b"no sound")
    with pytest.raises(InvalidInputAudio, match=r"tune\.wav"):
        read_music(folder, RATE, 1)


def test_a_whole_evaluation_of_given_music(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.txt").write_text(f"{name} piano")
        (tmp_path / f"{name}.wav").write_bytes(wav(0.5))
    found = evaluate(
        Settings(model="demo", threads=1), EvaluationPlan(1, seconds=1.2), [3.0], tmp_path
    )
    assert found.likelihood is not None and found.likelihood.clips == 2
    assert len(found.likelihood.own_prompt.codebooks) == 4
    (adherence,) = found.adherence
    # Each clip of 1.2 s is streamed in pieces of half a second.
    assert (adherence.clips, adherence.borders) == (10, 20)
    assert adherence.clicks == 0


def test_only_this_projects_engine_knows_the_likelihood(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("x")
    sf.write(tmp_path / "one.wav", np.zeros(RATE, np.float32), RATE)
    settings = Settings(model="demo", threads=1, engine="transformers")
    with pytest.raises(SettingsError, match="must be musicgen to measure"):
        evaluate(settings, EvaluationPlan(1, seconds=0.5), [3.0], tmp_path)
