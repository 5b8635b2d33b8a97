"""AudioGen converted from audiocraft's files: each part equals audiocraft's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from musicgen import errors
from musicgen.catalog import UNKNOWN_LICENCE
from musicgen.checkpoints.audiocraft.convert import convert
from musicgen.checkpoints.locate import find_repository, locate
from musicgen.checkpoints.packed.format import FORMS
from musicgen.engine.interface import Engine, GenerationJob, Row
from musicgen.engine.loading import load_engine
from musicgen.engine.pytorch.kv_cache import StaticKVCache
from musicgen.model.config import MusicGenConfig
from musicgen.model.decoder import build_sinusoidal_positions
from musicgen.model.delay_pattern import DelayPattern
from musicgen.model.musicgen import MusicGen
from musicgen.model.tokenizer import load_tokenizer
from musicgen.settings import Settings
from tests.support import audiocraft as toy
from tests.support import audiogen, engines
from tests.support.packs import pack_folder


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy model, converted with a T5 as its base."""
    return audiogen.convert_toy(tmp_path_factory.mktemp("audiogen"))


def test_the_checkpoint_has_the_rate_and_window_of_the_run(converted: Path) -> None:
    config = MusicGenConfig.from_folder(converted)
    assert (config.sample_rate, config.frame_rate, config.window_frames) == (16_000, 50, 500)
    assert config.codec.ratios == tuple(audiogen.RATIOS)
    generation = json.loads((converted / "generation_config.json").read_text())
    assert "x" not in generation and generation["decoder_start_token_id"] == toy.CARD
    assert locate(str(converted)).licence == "CC-BY-NC-4.0, base model Apache-2.0"


@torch.inference_mode()
def test_the_text_states_are_audiocraft_s(converted: Path) -> None:
    tokens = torch.tensor([load_tokenizer(converted)(audiogen.PROMPT)])
    states = engines.model(converted).encode_text(tokens)[0]
    np.testing.assert_allclose(states, audiogen.read_golden()["text_states"], atol=1e-5)


@torch.inference_mode()
def test_the_logits_with_and_without_text_are_audiocraft_s(converted: Path) -> None:
    model, golden = engines.model(converted), audiogen.read_golden()
    codes = torch.from_numpy(golden["tokens"][:, : audiogen.STEPS].astype(np.int64))
    text = torch.tensor([load_tokenizer(converted)(audiogen.PROMPT)])
    prompts = (model.encode_text(text), model.build_null_text_states())
    positive, negative = (_compute_logits(model, codes, states) for states in prompts)
    np.testing.assert_allclose(positive, golden["logits"], atol=1e-4)
    np.testing.assert_allclose(negative, golden["unconditional_logits"], atol=1e-4)


@torch.inference_mode()
def test_the_codec_is_audiocraft_s(converted: Path) -> None:
    codec, golden = engines.model(converted).codec, audiogen.read_golden()
    codes = codec.encode(toy.draw_waveform(audiogen.SAMPLES))[0]
    assert codes.tolist() == golden["codes"].tolist()
    sound = codec.decode(toy.draw_codes(codec.config.codebooks, codec.config.codebook_size))
    np.testing.assert_allclose(sound[0, 0], golden["waveform"], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_every_packed_form_makes_a_clip(converted: Path, tmp_path: Path, form: str) -> None:
    file = pack_folder(converted, form, tmp_path).path
    precision = form.partition("-")[2]
    engine: Engine = load_engine(file, "toy", Settings(device="cpu", precision=precision))
    output = engines.run(engine, GenerationJob((Row(audiogen.PROMPT, 0, engines.greedy()),), 60))
    assert output.codes[0].shape == (toy.CODEBOOKS, 60)
    assert output.pcm[0].shape == (60 * audiogen.HOP, 1)


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "native file"])
def test_a_long_clip_has_audiocraft_s_tokens(converted: Path, tmp_path: Path, packed: bool) -> None:
    """Windows of 10 s: the plan, the context and the guidance of each step."""
    expected = audiogen.read_golden()["tokens"]
    engine: Engine = engines.engine(converted)
    if packed:
        file = pack_folder(converted, "native-float32", tmp_path).path
        engine = load_engine(file, "toy", Settings(device="cpu", precision="float32"))
    row = Row(audiogen.PROMPT, 0, engines.greedy())
    # A request's stride refers to windows of 30 s.
    stride = audiogen.LONG_STRIDE * 30 / audiogen.WINDOW_SECONDS
    job = GenerationJob((row,), expected.shape[1], stride_seconds=stride)
    assert engines.run(engine, job).codes[0].tolist() == expected.tolist()


def test_transformers_makes_the_same_clip(converted: Path) -> None:
    """The second engine reads the converted folder itself."""
    job = GenerationJob((Row(audiogen.PROMPT, 0, engines.greedy()),), 60)
    settings = Settings(device="cpu", precision="float32", engine="transformers")
    theirs = engines.run(load_engine(converted, "toy", settings), job)
    ours = engines.run(engines.engine(converted), job)
    np.testing.assert_allclose(theirs.pcm[0], ours.pcm[0], atol=1e-5)


def test_a_t5_alone_is_no_base_of_files_without_a_codec(tmp_path: Path) -> None:
    audiogen.write_inputs(tmp_path)
    base = locate(str(tmp_path / "t5"))
    (tmp_path / "files" / "compression_state_dict.bin").unlink()
    with pytest.raises(errors.UnsupportedCheckpoint, match=r"compression_state_dict\.bin"):
        convert(tmp_path / "files", base, tmp_path / "new")


def test_a_t5_gives_no_licence_to_a_model_without_one(tmp_path: Path) -> None:
    """Guards Apache-2.0 on weights that forbid commercial use."""
    audiogen.write_inputs(tmp_path)
    (tmp_path / "files" / "README.md").unlink()
    done = convert(tmp_path / "files", locate(str(tmp_path / "t5")), tmp_path / "new")
    assert done.licence == locate(str(done.folder)).licence == UNKNOWN_LICENCE


@pytest.mark.parametrize("name", ["audiogen-medium", "facebook/audiogen-medium"])
def test_the_published_model_says_how_to_convert_it(name: str) -> None:
    with pytest.raises(errors.CheckpointNotFound, match="musicgen convert audiogen-medium -o"):
        locate(name)
    assert find_repository(name) is None


def _compute_logits(model: MusicGen, codes: torch.Tensor, states: torch.Tensor) -> np.ndarray:
    """Return the logits (codebooks, frames, vocabulary) of each code after those before it."""
    config = model.config.decoder
    pattern = DelayPattern(config.codebooks, config.channels, config.start_token)
    sequence = torch.from_numpy(pattern.build_template(codes.shape[1], codes.numpy()))
    x = model.decoder.embed(sequence[None])
    x = x + build_sinusoidal_positions(x.shape[1], x.shape[2])
    cache = StaticKVCache(config, 1, x.shape[1], model.device, model.dtype)
    causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()[None, None]
    cross = model.decoder.build_cross_attention_cache(states)
    delayed = model.decoder.compute_logits(model.decoder(x, cache, cross, causal)[0])
    frames = codes.shape[1]
    # Column k + t of codebook k predicts its frame t.
    books = [delayed[k : k + frames, k] for k in range(config.codebooks)]
    return torch.stack(books).numpy()
