"""Runs of audiocraft with one setting changed, held against audiocraft's own results.

The results were made by audiocraft 1.4.0a2 (`python -m tests.support.audiocraft_golden`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from musicgen import errors
from musicgen.checkpoints.audiocraft.convert import Conversion, convert
from musicgen.checkpoints.locate import locate
from musicgen.model.codec_stream import CodecStream
from tests.support import audiocraft as toy
from tests.support import engines
from tests.support.audiocraft_cases import CASES
from tests.support.audiocraft_results import read_array, read_results, write_case

EXACT = [name for name, case in CASES.items() if case.refused is None]
REFUSED = [name for name, case in CASES.items() if case.refused is not None]
# Settings of the solver that no model is built from.
TRAINING = (
    *(
        "attribute_dropout",
        "autocast",
        "cache.",
        "checkpoint.",
        "dataset.",
        "evaluate.",
        "generate.",
    ),
    *("metrics.", "optim.", "schedule.", "solver", "no_quant", "rvq."),
)


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Base models: text, and with a melody."""
    folder = tmp_path_factory.mktemp("bases")
    for melody in (False, True):
        toy.write_base(folder / str(melody), melody=melody)
    return {melody: folder / str(melody) for melody in (False, True)}


def _convert(name: str, bases: dict[bool, Path], folder: Path) -> Conversion:
    write_case(name, folder / "files")
    has_melody = "conditioners.self_wav" in CASES[name].language_model
    return convert(folder / "files", locate(str(bases[has_melody])), folder / "tuned")


@pytest.mark.parametrize("name", EXACT)
def test_a_run_gives_the_tokens_and_the_sound_of_audiocraft(
    name: str, bases: dict[bool, Path], tmp_path: Path
) -> None:
    """Guards weights used with the settings of another model: other music, without a word."""
    expected = read_results()["cases"][name]
    assert "error" not in expected
    folder = _convert(name, bases, tmp_path).folder
    engine = engines.engine(folder)
    assert engines.backend_of(engine).tokenize(toy.PROMPT) == read_results()["prompt_ids"]
    if "tokens" in expected:
        found = engines.codes(engine, [toy.PROMPT], toy.FRAMES, engines.greedy())
        assert found[0].tolist() == expected["tokens"]
    if "codes" in expected:
        codec = engines.model(folder).codec
        assert codec.encode(toy.draw_waveform())[0].tolist() == expected["codes"]
        waveform = read_array(f"{expected['number']}.waveform")
        codes = toy.draw_codes(codec.config.codebooks, codec.config.codebook_size)[0]
        stream = CodecStream(codec, 1)
        pieces = torch.cat([stream.push(codes[:, :7], False), stream.push(codes[:, 7:], True)], 1)
        for sound in (codec.decode(codes[None])[0, 0], pieces[0]):
            np.testing.assert_allclose(sound.numpy(), waveform, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_a_setting_that_a_checkpoint_cannot_hold_is_refused_by_its_name(
    name: str, bases: dict[bool, Path], tmp_path: Path
) -> None:
    with pytest.raises(errors.UnsupportedCheckpoint) as refusal:
        _convert(name, bases, tmp_path)
    assert f"setting {CASES[name].refused} " in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


def test_every_setting_of_audiocraft_has_a_case() -> None:
    """Guards a setting that is neither converted nor refused."""
    changed = {path for case in CASES.values() for part in case[:2] for path in part}
    missing = [
        path
        for path in read_results()["settings"]
        if not path.startswith(TRAINING) and not any(_overlap(path, other) for other in changed)
    ]
    assert missing == []


def _overlap(path: str, other: str) -> bool:
    return path == other or path.startswith(f"{other}.") or other.startswith(f"{path}.")
