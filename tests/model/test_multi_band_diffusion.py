"""Multi-band diffusion equals audiocraft's, part by part, on random weights."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from musicgen.checkpoints.audiocraft.settings import RunSettings
from musicgen.checkpoints.diffusion import load_diffusion, read_schedule, read_unet_config
from musicgen.model.diffusion import decoder
from musicgen.model.diffusion.bands import BandFilters, match_bands
from musicgen.model.diffusion.decoder import MultiBandDiffusion, plan_windows
from musicgen.model.diffusion.noise import SeededNoise
from musicgen.model.diffusion.schedule import compute_alpha_bars
from musicgen.model.diffusion.unet import Unet
from tests.support import audiocraft as toy
from tests.support import diffusion

GOLDEN = np.load(diffusion.DATA / "golden.npz")
TOLERANCE = 1e-4


def _assert_equals_audiocraft(name: str, result: Tensor) -> None:
    expected = torch.from_numpy(GOLDEN[name])
    assert result.shape == expected.shape
    scale = max(1.0, float(expected.abs().max()))
    assert float((result - expected).abs().max()) / scale < TOLERANCE


def _run(steps: Generator[None, None, Tensor]) -> tuple[Tensor, int]:
    """Return the sound, and how often it was paused."""
    count = 0
    while True:
        try:
            next(steps)
            count += 1
        except StopIteration as end:
            return end.value, count


def _build_unet(name: str, index: int = 0) -> Unet:
    unet = Unet(read_unet_config(RunSettings("toy", diffusion.describe_band(name)))).eval()
    shapes = {n: tensor.shape for n, tensor in unet.state_dict().items()}
    unet.load_state_dict(diffusion.draw_unet(index, shapes))
    return unet


def _load_whole(tmp_path: Any) -> MultiBandDiffusion:
    names = ("lstm", "transformer", "cross-attention")
    file = diffusion.write_diffusion(
        tmp_path, names, sample_rate=toy.SAMPLE_RATE, codec_dim=diffusion.CODEC_DIM
    )
    return load_diffusion(file, "cpu")


@pytest.mark.parametrize("name", diffusion.UNETS)
def test_a_unet_equals_audiocrafts(name: str) -> None:
    with torch.inference_mode():
        sound, latents = diffusion.draw_sound(1, 2)[:, None], diffusion.draw_latents(2)
        result = _build_unet(name)(sound, diffusion.STEP, latents)
    _assert_equals_audiocraft(f"unet.{name}", result[:, 0])


def test_the_noise_schedule_equals_audiocrafts() -> None:
    schedule = read_schedule(RunSettings("toy", diffusion.describe_band("lstm")))
    _assert_equals_audiocraft("schedule.alpha_bars", compute_alpha_bars(schedule))


def test_the_reverse_process_equals_audiocrafts() -> None:
    schedule = read_schedule(RunSettings("toy", diffusion.describe_band("lstm")))
    band = decoder.DiffusionBand(_build_unet("lstm"), schedule, decoder.Rescaling(1600))
    model = MultiBandDiffusion(1600, (band,))
    noise = SeededNoise(diffusion.SEED)
    steps = model.generate(diffusion.draw_latents(), diffusion.SAMPLES, noise)
    _assert_equals_audiocraft("schedule.sound", _run(steps)[0])


def test_frequency_bands_equal_audiocrafts() -> None:
    filters = BandFilters(toy.SAMPLE_RATE, diffusion.PROCESSOR_BANDS)
    bands = torch.cat(list(filters.split(diffusion.draw_sound(3, 2)[:1])), -1)
    _assert_equals_audiocraft("bands.split", bands)


def test_blocks_of_filtered_sound_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long clip is filtered in blocks; a wrong overlap would be heard at their borders."""
    filters = BandFilters(toy.SAMPLE_RATE, diffusion.PROCESSOR_BANDS)
    sound = diffusion.draw_sound(5, samples=9001)
    whole = torch.cat(list(filters.split(sound)), -1)
    monkeypatch.setattr("musicgen.model.diffusion.bands._BLOCK", 1024)
    blocks = list(filters.split(sound))
    assert len(blocks) > 1
    assert torch.allclose(torch.cat(blocks, -1), whole, atol=1e-5)


def test_levels_of_a_band_equal_audiocrafts(tmp_path: Any) -> None:
    rescaling = _load_whole(tmp_path).bands[0].rescaling
    _assert_equals_audiocraft("bands.restored", rescaling.undo(diffusion.draw_sound(3, 2)))


def test_the_equalizer_equals_audiocrafts() -> None:
    filters = BandFilters(toy.SAMPLE_RATE, decoder.EQUALIZER_BANDS)
    sound, reference = diffusion.draw_sound(3, 2), diffusion.draw_sound(4, 2) * 0.3
    _assert_equals_audiocraft("bands.equalized", match_bands(filters, sound, reference))


def test_silence_stays_silent_in_the_equalizer() -> None:
    filters = BandFilters(toy.SAMPLE_RATE, decoder.EQUALIZER_BANDS)
    silence = torch.zeros(1, 900)
    assert not match_bands(filters, silence, silence).any()


@pytest.mark.parametrize("sides", ["mono", "stereo"])
def test_tokens_to_sound_equal_audiocrafts(sides: str, tmp_path: Any) -> None:
    codec, model = diffusion.load_toy_codec(tmp_path / "codec"), _load_whole(tmp_path)
    codes = toy.draw_codes()
    if sides == "stereo":
        codes = torch.cat((codes, codes.flip(-1)))
    with torch.inference_mode():
        latents, reference = codec.embed(codes), codec.decode(codes)[:, 0]
    if sides == "mono":
        _assert_equals_audiocraft("whole.latents", latents)
    samples = reference.shape[-1]
    sound, count = _run(model.generate(latents, samples, SeededNoise(diffusion.SEED)))
    assert count == model.count_steps(samples) == 3 * 20
    _assert_equals_audiocraft(f"whole.{sides}.sum", sound)
    _assert_equals_audiocraft(f"whole.{sides}", model.equalize(sound, reference))


def test_windows_cover_a_clip() -> None:
    assert plan_windows(700, 32_000) == [(0, 700)]
    assert plan_windows(30 * 100, 100) == [(0, 3000)]
    windows = plan_windows(7501, 100)
    assert windows == [(0, 3000), (2800, 5800), (5600, 7501)]


def test_windows_of_a_long_clip_have_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimates of two windows that differ at once would click in the middle of a clip."""
    monkeypatch.setattr(decoder, "WINDOW_SECONDS", 0.4)
    monkeypatch.setattr(decoder, "OVERLAP_SECONDS", 0.2)
    schedule = read_schedule(RunSettings("toy", diffusion.describe_band("skips")))

    class Steps(Unet):
        """U-Net whose estimate is another constant in each window."""

        def forward(self, x: Tensor, step: int, condition: Tensor) -> Tensor:
            return torch.full_like(x, float(condition.mean()))

    unet = Steps(read_unet_config(RunSettings("toy", diffusion.describe_band("skips"))))
    band = decoder.DiffusionBand(unet, schedule, decoder.Rescaling(1600))
    latents = torch.arange(40.0).expand(1, 8, 40)
    steps = MultiBandDiffusion(1600, (band,))._estimate(unet, torch.zeros(1, 1, 1280), 0, latents)
    sound = _run(steps)[0][0, 0]
    assert float(sound[0]) == 9.5
    assert float(sound[-1]) == 29.5
    assert float(sound.diff().abs().max()) < 0.05


def test_noise_depends_on_the_seed_alone() -> None:
    drawn = SeededNoise(3).draw(1, 1, 50)
    assert torch.equal(drawn, SeededNoise(3).draw(1, 1, 50))
    assert not torch.equal(drawn, SeededNoise(4).draw(1, 1, 50))
