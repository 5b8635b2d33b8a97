"""What is trained is what is loaded: by this project and by transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from musicgen.checkpoints.weights import load_model
from musicgen.model.config import MusicGenConfig
from musicgen.model.encodec import Codec
from musicgen.predictor import Predictor
from musicgen.request import GenerationRequest
from musicgen.settings import Settings
from training.codec.start import pca_start
from training.codec.train import CONFIG
from training.data import make_pool
from training.export import FILES, export
from training.language_model.model import make_model

LARGEST_BYTES = 16_000_000


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Codec]:
    """An exported checkpoint and the codec that went into it."""
    folder = tmp_path_factory.mktemp("export")
    codec = Codec(CONFIG)
    generator = torch.Generator().manual_seed(1)
    clips = torch.from_numpy(make_pool(0, 16, seconds=1.0, processes=1).sound)
    with torch.no_grad():
        pca_start(codec, clips[:, None], generator)
        codec.codebooks.copy_(0.3 * torch.randn(codec.codebooks.shape, generator=generator))
    torch.save({"codec": codec.state_dict()}, folder / "codec.pt")
    torch.save({"model": make_model().state_dict()}, folder / "language_model.pt")
    export(folder, folder, folder / "checkpoint")
    return folder / "checkpoint", codec


def test_it_is_small_and_holds_only_what_is_read(trained: tuple[Path, Codec]) -> None:
    folder, _ = trained
    assert {path.name for path in folder.iterdir()} == FILES
    assert sum(path.stat().st_size for path in folder.iterdir()) < LARGEST_BYTES


@torch.no_grad()
def test_both_loaders_have_the_codec_that_was_trained(trained: tuple[Path, Codec]) -> None:
    from transformers import MusicgenForConditionalGeneration

    folder, codec = trained
    codes = torch.randint(CONFIG.codebook_size, (1, 4, 30), generator=torch.manual_seed(2))
    wanted = codec.decode(codes)
    config = MusicGenConfig.from_folder(folder)
    ours = load_model(folder, config, torch.device("cpu"), torch.float32).codec
    theirs = MusicgenForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    scale = wanted.abs().max()
    # The checkpoint is float16.
    assert (ours.decode(codes) - wanted).abs().max() < 0.01 * scale
    decoded = theirs.audio_encoder.decode(codes[None], [None]).audio_values
    assert (decoded - wanted).abs().max() < 0.01 * scale


def test_it_makes_a_clip(trained: tuple[Path, Codec], tmp_path: Path) -> None:
    predictor = Predictor.load(Settings(model=str(trained[0]), threads=1, data_dir=tmp_path))
    result = predictor.generate(GenerationRequest(prompt="slow piano", duration=0.5, seed=1))
    assert result.engine == "musicgen" and result.clips[0].samples == 16_000
