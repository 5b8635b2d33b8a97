"""The embedded checkpoint: small, read by both engines, and music that follows its prompt."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from handlers.cli import main as cli
from musicgen.checkpoints.locate import locate
from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.interface import GenerationJob, Row, run_to_end
from musicgen.engine.loading import load_engine
from musicgen.evaluation.measures import (
    Sound,
    level,
    longest_silence,
    noisiness,
    spectral_centroid,
)
from musicgen.request import SamplingParams
from musicgen.settings import Settings
from training.data import HELD_OUT_SEED
from training.export import FILES
from training.music.piece import random_piece
from training.music.render import render
from training.music.words import describe

LARGEST_BYTES = 16_000_000
SAMPLING = SamplingParams(top_k=50, guidance=3.0)
FRAMES = 100


@pytest.fixture(scope="module")
def engine() -> MusicGenEngine:
    loaded = load_engine(locate("demo").folder, "demo", Settings(threads=1))
    assert isinstance(loaded, MusicGenEngine)
    return loaded


def _clips(engine: MusicGenEngine, *prompts: str) -> list[Sound]:
    rows = tuple(Row(prompt, seed, SAMPLING) for seed, prompt in enumerate(prompts))
    return [pcm[:, 0] for pcm in run_to_end(engine.generate(GenerationJob(rows, FRAMES))).pcm]


def test_it_is_small_and_has_its_card_beside_it() -> None:
    folder = locate("demo").folder
    assert {path.name for path in folder.iterdir()} == FILES | {"README.md", "curves.png"}
    assert sum(path.stat().st_size for path in folder.iterdir()) < LARGEST_BYTES
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "license: apache-2.0" in card
    assert "{" not in card, "a figure was not filled in"


def test_both_engines_decode_it_alike(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", "--model", "demo", "--duration", "1"]) == 0
    assert "identical" in capsys.readouterr().out


def test_eight_bits_are_as_good_as_thirty_two() -> None:
    """Why `precision=auto` may be int8 on a processor: on music and prompts that the model was not
    trained on, the negative log-likelihood changes by less than one percent."""
    rng = np.random.default_rng(HELD_OUT_SEED)
    pieces = [random_piece(rng) for _ in range(6)]
    music = [(describe(piece, rng), render(piece, 2.0, rng)[:, None]) for piece in pieces]
    nats = {}
    for precision in ("float32", "int8"):
        settings = Settings(threads=1, precision=precision)
        engine = load_engine(locate("demo").folder, "demo", settings)
        assert isinstance(engine, MusicGenEngine)
        scores = [engine.negative_log_likelihood(prompt, pcm) for prompt, pcm in music]
        nats[precision] = float(np.mean(scores))
    assert nats["int8"] != nats["float32"]
    assert nats["int8"] == pytest.approx(nats["float32"], rel=0.01)


def test_it_follows_the_prompt(engine: MusicGenEngine) -> None:
    """By the median of three clips, and far apart, so that no rounding of another machine turns it
    around; `musicgen evaluate` counts the shares."""
    rate = engine.config.sample_rate

    def typical(measure: Callable[[Sound], float], prompt: str) -> float:
        return float(np.median([measure(clip) for clip in _clips(engine, *[prompt] * 3)]))

    low, high = (
        typical(lambda clip: spectral_centroid(clip, rate), f"{each} flute melody in C major")
        for each in ("low", "high")
    )
    soft, loud = (typical(level, f"{each} piano melody in D minor") for each in ("soft", "loud"))
    flute, drums = (
        typical(lambda clip: noisiness(clip, rate), each)
        for each in ("loud flute in C major", "loud drums")
    )
    assert high > 2 * low
    assert loud > soft + 6
    assert drums > flute + 6


def test_it_plays_notes_and_neither_noise_nor_silence(engine: MusicGenEngine) -> None:
    """Spectral flatness: 0.56 of white noise, near 0 of a tone."""
    for sound in _clips(engine, "upbeat piano melody", "fast high bells", "deep bass drone"):
        power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2 + 1e-12
        heard = power[: len(power) // 4]
        assert np.exp(np.log(heard).mean()) / heard.mean() < 0.02
        assert longest_silence(sound, engine.config.sample_rate) < 1
        assert np.abs(sound).max() < 1
