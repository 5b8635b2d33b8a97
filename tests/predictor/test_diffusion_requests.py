"""Requests with `decoder` multi_band_diffusion, by the embedded model and toy weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from musicgen import errors
from musicgen.predictor import Predictor
from musicgen.request import GenerationRequest, StreamForm
from musicgen.settings import Settings
from tests.support import diffusion
from tests.support.packs import pack_folder

SECONDS = 0.4
STEPS = 20


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("diffusion")
    diffusion.write_diffusion(folder / "weights", ["skips"])
    return Settings(data_dir=folder / "clips", diffusion=str(folder / "weights"))


@pytest.fixture(scope="module")
def demo(settings: Settings) -> Iterator[Predictor]:
    predictor = Predictor.load(settings)
    yield predictor
    predictor.close()


def _request(**fields: Any) -> GenerationRequest:
    chosen = {"decoder": "multi_band_diffusion", "duration": SECONDS, "seed": 5} | fields
    return GenerationRequest(prompt="calm piano", bit_depth="float", **chosen)


def _read(address: str) -> np.ndarray:
    pcm, rate = sf.read(address, dtype="float32", always_2d=True)
    assert rate == 32_000
    return pcm


def _is_refused(predictor: Predictor, text: str, **fields: Any) -> bool:
    with pytest.raises(errors.InvalidRequest, match=text) as raised:
        predictor.generate(_request(**fields))
    return raised.value.field == "decoder"


def test_a_request_is_decoded_by_diffusion(demo: Predictor) -> None:
    result = demo.generate(_request())
    [clip] = result.clips
    sound = _read(clip.address)
    assert len(sound) == SECONDS * 32_000
    assert np.isfinite(sound).all()
    plain = demo.generate(_request(decoder="encodec"))
    assert not np.allclose(sound, _read(plain.clips[0].address), atol=1e-3)
    assert result.steps == plain.steps


def test_a_clip_names_both_licences(demo: Predictor) -> None:
    """The demo model is free; a clip by Meta's weights is not."""
    assert demo.generate(_request()).licence == "Apache-2.0, decoder CC-BY-NC-4.0"
    assert demo.generate(_request(decoder="encodec")).licence == "Apache-2.0"


def test_the_same_request_gives_the_same_bytes_in_every_batch(demo: Predictor) -> None:
    alone = [_read(demo.generate(_request(seed=seed)).clips[0].address) for seed in (5, 6, 5)]
    together = demo.generate(_request(variations=2)).clips
    assert np.array_equal(alone[0], alone[2])
    assert not np.array_equal(alone[0], alone[1])
    for one, clip in zip(alone, together, strict=False):
        assert np.allclose(one, _read(clip.address), atol=1e-5)


def test_progress_counts_each_step_and_cancelling_ends_between_two(demo: Predictor) -> None:
    steps = list(demo.start(_request(variations=2)))
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    total = steps[-1].total
    assert steps[-1].done == total
    generation = demo.start(_request(variations=2))
    for progress in generation:
        if progress.done == total - STEPS - 3:
            break
    generation.close()
    with pytest.raises(errors.GenerationCancelled):
        generation.result()
    assert demo.generate(_request()).clips


@pytest.mark.parametrize("form", ["files", "joined"])
def test_a_stream_has_the_whole_clip_in_one_piece(demo: Predictor, form: StreamForm) -> None:
    pieces = [p.audio for p in demo.start(_request(), stream=form) if p.audio]
    assert len(pieces) == 1


def test_a_continued_clip_keeps_its_beginning(demo: Predictor, tmp_path: Path) -> None:
    first = demo.generate(_request(decoder="encodec", save_tokens=True)).clips[0]
    result = demo.generate(
        _request(
            input_audio=Path(first.address),
            continuation=True,
            duration=0.7,
            normalization_strategy="none",
        )
    )
    begun = _read(first.address)
    sound = _read(result.clips[0].address)
    assert np.array_equal(sound[: len(begun) - 1600], begun[:-1600])


def test_stereo_decodes_each_sides_codebooks(settings: Settings, checkpoints: Any) -> None:
    folder = checkpoints("musicgen-stereo-small")
    predictor = Predictor.load(replace(settings, model=str(folder), precision="float32"))
    codec = predictor.engine.config.codec
    weights = settings.data_dir / "stereo"
    file = diffusion.write_diffusion(
        weights, ["skips"], sample_rate=codec.sample_rate, codec_dim=codec.codebook_dim
    )
    predictor.close()
    predictor = Predictor.load(
        replace(settings, model=str(folder), precision="float32", diffusion=str(file))
    )
    clip = predictor.generate(_request(top_k=50)).clips[0]
    sides = _read(clip.address)
    assert sides.shape == (SECONDS * 32_000, 2)
    assert not np.array_equal(sides[:, 0], sides[:, 1])


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ("off", "turned off"),
        ("./absent", "no weights"),
        ("empty", "no weights"),
        ("damaged", "no weights"),
        ("of-another-codec", "trained with"),
    ],
)
def test_missing_weights_are_refused(
    settings: Settings, tmp_path: Path, weights: str, text: str
) -> None:
    """Without the paths of the server; its log has them."""
    if weights == "empty":
        (tmp_path / weights).mkdir()
    elif weights == "damaged":
        diffusion.write_diffusion(tmp_path / weights, ["skips"]).write_bytes(b"PK")
    elif weights == "of-another-codec":
        diffusion.write_diffusion(tmp_path / weights, ["skips"], codec_dim=16)
    name = str(tmp_path / weights) if (tmp_path / weights).exists() else weights
    predictor = Predictor.load(replace(settings, diffusion=name))
    assert _is_refused(predictor, text)
    assert predictor.generate(_request(decoder="encodec")).clips


@pytest.mark.parametrize("engine", ["native", "transformers"])
def test_an_engine_without_diffusion_says_so_before_a_job(
    settings: Settings, demo: Predictor, tmp_path: Path, engine: str
) -> None:
    """Workers with such an engine took these jobs and failed them, while others could make them."""
    assert "decoder" not in demo.find_missing_parts()
    if engine == "native":
        settings = replace(
            settings, model=str(pack_folder(Path("demo"), "native-int8", tmp_path).path)
        )
    else:
        settings = replace(settings, engine="transformers")
    predictor = Predictor.load(settings)
    assert "operator can load the model's folder" in predictor.find_missing_parts()["decoder"]
    assert _is_refused(predictor, "Multi-band diffusion needs the engine musicgen")
    predictor.close()


def test_too_little_memory_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musicgen.engine.pytorch.diffusion.free_memory", lambda device: 1000)
    assert _is_refused(Predictor.load(settings), "too little memory")


def test_tokens_are_not_saved_beside_it() -> None:
    """Decoding them would not give the clip."""
    with pytest.raises(errors.InvalidRequest, match="save_tokens needs decoder encodec"):
        _request(save_tokens=True)
