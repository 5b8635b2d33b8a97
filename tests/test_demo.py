"""The embedded checkpoint: small, read by both engines, and music that follows its prompt."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from musicgen import cli
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
from musicgen.sources import locate
from training.export import FILES

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
