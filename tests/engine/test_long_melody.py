"""A clip of several windows with a melody shorter than a window, against audiocraft's results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from musicgen.checkpoints.audiocraft.convert import convert
from musicgen.checkpoints.locate import locate
from musicgen.engine.interface import GenerationJob, Row, plan_job
from musicgen.engine.sequence import select_melody
from musicgen.model.chroma import compute_chroma
from tests.support import audiocraft as toy
from tests.support import engines
from tests.support.audiocraft_results import read_array, read_results, write_case


def test_a_long_clip_repeats_the_samples_of_a_short_melody(tmp_path: Path) -> None:
    """Guards repeated chroma frames, whose last one hears silence after the melody."""
    toy.write_base(tmp_path / "base", melody=True)
    write_case("melody", tmp_path / "files")
    source = locate(str(tmp_path / "base"))
    folder = convert(tmp_path / "files", source, tmp_path / "tuned").folder
    engine = engines.engine(folder)
    melody = toy.draw_melody().T.numpy()
    job = GenerationJob(
        (Row(toy.PROMPT, 0, engines.greedy()),),
        toy.LONG_SECONDS * engine.config.frame_rate,
        melody=melody,
        stride_seconds=toy.LONG_STRIDE,
    )
    heard = [
        compute_chroma(torch.from_numpy(select_melody(job, window, engine.config)), engine.config)
        for window in plan_job(job, engine.config)
    ]
    chroma = np.stack([part.argmax(1).numpy() for part in heard])
    np.testing.assert_array_equal(chroma, read_array("melody"))
    codes = engines.run(engine, job).codes[0]
    assert codes[:, :: toy.LONG_STEP].tolist() == read_results()["melody_tokens"]
