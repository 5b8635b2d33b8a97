"""A clip of several windows with a melody shorter than a window, against audiocraft's results."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from musicgen.checkpoints.audiocraft.convert import convert
from musicgen.checkpoints.locate import locate
from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.interface import GenerationJob, Row, plan_job
from musicgen.engine.sequence import select_melody
from musicgen.model.chroma import compute_chroma
from tests.support import audiocraft as toy
from tests.support import engines
from tests.support.audiocraft_results import read_array, read_results, write_case


@pytest.fixture(scope="module")
def melody_engine(tmp_path_factory: pytest.TempPathFactory) -> MusicGenEngine:
    folder = tmp_path_factory.mktemp("melody")
    toy.write_base(folder / "base", melody=True)
    write_case("melody", folder / "files")
    convert(folder / "files", locate(str(folder / "base")), folder / "tuned")
    return engines.engine(folder / "tuned")


def _job() -> GenerationJob:
    return GenerationJob(
        (Row(toy.PROMPT, 0, engines.greedy()),),
        toy.LONG_SECONDS * toy.SAMPLE_RATE // toy.HOP,
        melody=toy.draw_melody().T.numpy(),
        stride_seconds=toy.LONG_STRIDE,
    )


def test_a_long_clip_repeats_the_samples_of_a_short_melody(melody_engine: MusicGenEngine) -> None:
    """Guards repeated chroma frames, whose last one hears silence after the melody."""
    config, job = melody_engine.config, _job()
    windows = [select_melody(job, window, config) for window in plan_job(job, config)]
    heard = [torch.from_numpy(compute_chroma(melody, config)) for melody in windows]
    chroma = np.stack([part.argmax(1).numpy() for part in heard])
    np.testing.assert_array_equal(chroma, read_array("melody"))


@pytest.mark.slow
def test_a_long_clip_with_a_short_melody_has_audiocraft_s_tokens(
    melody_engine: MusicGenEngine,
) -> None:
    codes = engines.run(melody_engine, _job()).codes[0]
    assert codes[:, :: toy.LONG_STEP].tolist() == read_results()["melody_tokens"]
