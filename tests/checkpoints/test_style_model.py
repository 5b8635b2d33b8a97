"""MusicGen-Style converted from audiocraft's files: tokens and guided logits are audiocraft's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from musicgen import errors
from musicgen.checkpoints.audiocraft.convert import convert
from musicgen.checkpoints.locate import locate
from musicgen.engine.interface import Engine, GenerationJob, Row, StyleExcerpt
from musicgen.engine.job_rows import count_decoder_rows
from musicgen.engine.loading import load_engine
from musicgen.engine.pytorch.decode_state import DecodeState
from musicgen.model.config import MusicGenConfig
from musicgen.model.memory import count_parameters
from musicgen.model.native.draws import NumpyDraws
from musicgen.model.style.excerpt import cut_excerpt
from musicgen.settings import Settings
from tests.support import audiocraft as toy
from tests.support import engines, style
from tests.support.packs import pack_folder

# Prompt, codebooks, seconds and the guidance of the text of each case.
CASES = {
    "both": (toy.PROMPT, 3, 3.0, 5.0),
    "narrow": (toy.PROMPT, 1, 1.5, 5.0),
    "long": (toy.PROMPT, 6, 4.5, 2.0),
    "single": (toy.PROMPT, 3, 3.0, None),
    "style": ("", 3, 3.0, None),
    "text": (toy.PROMPT, 3, None, None),
}
EVERY_CASE = pytest.mark.parametrize("case", CASES)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy model, converted with a base model and MERT."""
    return style.convert_toy(tmp_path_factory.mktemp("style"))


def _build_job(case: str) -> GenerationJob:
    prompt, codebooks, seconds, text_guidance = CASES[case]
    row = Row(prompt, 0, replace(engines.greedy(), text_guidance=text_guidance))
    excerpt = None
    if seconds is not None:
        pcm = cut_excerpt(style.draw_recording(), style.SAMPLE_RATE, seconds)
        excerpt = StyleExcerpt(pcm, codebooks)
    return GenerationJob((row,), style.FRAMES, style=excerpt)


@EVERY_CASE
@pytest.mark.parametrize("compiled", [True, False], ids=["native step", "layers"])
def test_the_tokens_are_audiocraft_s(converted: Path, case: str, compiled: bool) -> None:
    engine = engines.engine(converted, compiled=compiled)
    expected = style.read_golden()[f"{case}.tokens"]
    assert engines.run(engine, _build_job(case)).codes[0].tolist() == expected.tolist()


def test_jobs_of_every_guidance_share_a_batch(converted: Path) -> None:
    """Rows of three kinds of jobs, stepped together, keep the tokens of each alone."""
    backend = engines.backend_of(engines.engine(converted))
    jobs = {case: _build_job(case) for case in CASES}
    states = {case: _start(converted, job) for case, job in jobs.items()}
    while any(state.steps_done < state.total_steps for state in states.values()):
        backend.step(list(states.values()))
    for case, state in states.items():
        expected = style.read_golden()[f"{case}.tokens"]
        assert state.read_codes()[0].tolist() == expected.tolist()


@EVERY_CASE
def test_the_guided_logits_are_audiocraft_s(converted: Path, case: str) -> None:
    job, golden = _build_job(case), style.read_golden()
    state, books = _start(converted, job), 4
    found = np.zeros_like(golden[f"{case}.logits"])
    for step in range(state.total_steps):
        guided = state.apply_guidance()[0].numpy()
        for book in range(books):
            # Column k + t of codebook k holds its frame t.
            if 0 <= step - book < style.FRAMES:
                found[book, step - book] = guided[book]
        state.step()
    np.testing.assert_allclose(found, golden[f"{case}.logits"], atol=1e-4)


def test_a_job_reserves_the_rows_of_its_guidance() -> None:
    rows = {case: count_decoder_rows(_build_job(case)) for case in CASES}
    assert rows == {"both": 3, "narrow": 3, "long": 3, "single": 2, "style": 2, "text": 2}


def test_a_packed_file_makes_the_same_music(converted: Path, tmp_path: Path) -> None:
    file = pack_folder(converted, "plain-float32", tmp_path).path
    engine: Engine = load_engine(file, "toy", Settings(device="cpu", precision="float32"))
    made = engines.run(engine, _build_job("both")).codes[0].tolist()
    assert made == style.read_golden()["both.tokens"].tolist()


def test_the_native_engine_says_which_form_to_choose(converted: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.UnsupportedCheckpoint, match="choose plain-bfloat16"):
        pack_folder(converted, "native-int8", tmp_path)


def test_the_parameters_are_counted(converted: Path) -> None:
    counts = count_parameters(MusicGenConfig.from_folder(converted))
    total = sum(tensor.numel() for tensor in engines.model(converted).state_dict().values())
    assert counts.decoder + counts.other == total


def test_a_style_model_needs_mert(tmp_path: Path) -> None:
    style.write_inputs(tmp_path)
    base = locate(str(tmp_path / "base"))
    with pytest.raises(errors.CheckpointMismatch, match=r"m-a-p/MERT-v1-95M with --features"):
        convert(tmp_path / "files", base, tmp_path / "new")


@pytest.mark.parametrize(
    ("name", "value"), [("model_name", "encodec"), ("transformer_scale", "none"), ("eval_q", 7)]
)
def test_another_conditioner_is_refused_by_its_setting(
    tmp_path: Path, name: str, value: object
) -> None:
    style.write_inputs(tmp_path)
    changed = style.LANGUAGE_MODEL | {f"conditioners.self_wav.style.{name}": value}
    package = torch.load(tmp_path / "files" / "state_dict.bin")
    toy._save(
        tmp_path / "files" / "state_dict.bin",
        toy.language_model_settings(changed),
        package["best_state"],
    )
    mert = locate(str(tmp_path / "mert"))
    with pytest.raises(errors.UnsupportedCheckpoint, match=name):
        convert(
            tmp_path / "files",
            locate(str(tmp_path / "base")),
            tmp_path / "new",
            locate_features=lambda: mert,
        )


@torch.inference_mode()
def _start(folder: Path, job: GenerationJob) -> DecodeState:
    """Return the prefilled state of a job of one window."""
    backend = engines.backend_of(engines.engine(folder))
    conditioning = backend.build_conditioning(job.rows, None, job.style)
    known = np.zeros((1, 4, 0), np.int64)
    state = backend.start_window(job.rows, job.frames, conditioning, known, NumpyDraws([0]))
    assert state.prefill()
    return state
