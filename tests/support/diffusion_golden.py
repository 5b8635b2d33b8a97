"""Make `tests/data/diffusion`: results of audiocraft's multi-band diffusion on the toy models.

    python -m tests.support.diffusion_golden AUDIOCRAFT

AUDIOCRAFT and the packages are those of `tests.support.audiocraft_golden`, and julius.
"""

from __future__ import annotations

import gzip
import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from musicgen.catalog import DIFFUSION_FILE
from musicgen.model.diffusion.noise import SeededNoise
from tests.support import audiocraft as toy
from tests.support import audiocraft_golden, diffusion

BANDS = ("lstm", "transformer", "cross-attention")


def main() -> None:
    """Run audiocraft on every part and write the results."""
    audiocraft_golden._import(Path(sys.argv[1]))
    arrays: dict[str, Any] = {}
    with torch.no_grad():
        for name in diffusion.UNETS:
            arrays[f"unet.{name}"] = _run_unet(name)
        arrays |= _run_schedule() | _run_bands() | _run_whole()
    diffusion.DATA.mkdir(parents=True, exist_ok=True)
    values = {name: np.asarray(array) for name, array in arrays.items()}
    np.savez_compressed(diffusion.DATA / "golden.npz", **values)
    _write_file()


def _run_unet(name: str) -> Tensor:
    model = _build_unet(name, 0)
    sound = diffusion.draw_sound(1, 2)[:, None]
    result: Tensor = model(sound, diffusion.STEP, condition=diffusion.draw_latents(2)).sample
    return result[:, 0]


def _run_schedule() -> dict[str, Any]:
    schedule = _build_schedule(_describe("lstm"))
    sound = diffusion.draw_sound(2)[:, None]
    noise = SeededNoise(diffusion.SEED)
    _draw_from(noise)
    model = _build_unet("lstm", 0)
    made = schedule.generate_subsampled(
        model=model, initial=torch.randn_like(sound), condition=diffusion.draw_latents()
    )
    return {"schedule.alpha_bars": schedule.get_alpha_bar(), "schedule.sound": made[:, 0]}


def _run_bands() -> dict[str, Any]:
    import julius
    from audiocraft.models import MultiBandDiffusion

    split = julius.SplitBands(toy.SAMPLE_RATE, n_bands=PROCESSOR)
    sound, reference = diffusion.draw_sound(3, 2), diffusion.draw_sound(4, 2) * 0.3
    codec = type("Codec", (torch.nn.Module,), {"sample_rate": toy.SAMPLE_RATE})()
    codec.register_parameter("any", torch.nn.Parameter(torch.zeros(1)))
    equalizer = MultiBandDiffusion([], codec)
    return {
        "bands.split": split(sound[:1]),
        "bands.restored": _build_processor(_describe("lstm"), 0).return_sample(sound[:, None])[
            :, 0
        ],
        "bands.equalized": equalizer.re_eq(sound[:, None], reference[:, None])[:, 0],
    }


PROCESSOR = diffusion.PROCESSOR_BANDS


def _run_whole() -> dict[str, Any]:
    """Decode tokens as audiocraft's own demo does: both sides of stereo are one batch."""
    from audiocraft.models import MultiBandDiffusion
    from audiocraft.models.multibanddiffusion import DiffusionProcess

    codec = _load_codec()
    processes = []
    for index, name in enumerate(BANDS):
        settings = _describe(name)
        schedule = _build_schedule(settings, _build_processor(settings, index))
        processes.append(DiffusionProcess(_build_unet(name, index), schedule))
    model = MultiBandDiffusion(processes, codec)
    mono = toy.draw_codes()
    sides = torch.cat((mono, mono.flip(-1)))
    arrays: dict[str, Any] = {"whole.latents": model.get_emb(mono)}
    for name, codes in (("mono", mono), ("stereo", sides)):
        _draw_from(SeededNoise(diffusion.SEED))
        size = torch.Size([len(codes), 1, toy.FRAMES * toy.HOP])
        arrays[f"whole.{name}.sum"] = model.generate(model.get_emb(codes), size=size)[:, 0]
        _draw_from(SeededNoise(diffusion.SEED))
        arrays[f"whole.{name}"] = model.tokens_to_wav(codes)[:, 0]
    return arrays


def _load_codec() -> Any:
    from audiocraft.models import builders, loaders

    settings, lm = toy.codec_settings(), toy.language_model_settings()
    config = audiocraft_golden._config
    shapes = audiocraft_golden._shapes(builders.get_compression_model(config(settings)))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        toy.write_files(folder, (lm, {}), (settings, toy.draw_weights(shapes)))
        return loaders.load_compression_model(folder, device="cpu")


def _describe(name: str) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.create(diffusion.describe_band(name))


def _build_unet(name: str, index: int) -> Any:
    from audiocraft.models import builders

    model = builders.get_diffusion_model(_describe(name)).eval()
    shapes = {n: tensor.shape for n, tensor in model.state_dict().items()}
    model.load_state_dict(diffusion.draw_unet(index, shapes))
    return model


def _build_processor(settings: Any, index: int) -> Any:
    from audiocraft.models import builders

    processor = builders.get_processor(settings.processor, toy.SAMPLE_RATE)
    levels = diffusion.draw_levels(index)
    processor.load_state_dict(levels, strict=False)
    return processor


def _build_schedule(settings: Any, processor: Any = None) -> Any:
    from audiocraft.modules.diffusion_schedule import NoiseSchedule, SampleProcessor

    processor = processor or SampleProcessor()
    return NoiseSchedule(**settings.schedule, sample_processor=processor, device="cpu")


def _draw_from(noise: SeededNoise) -> None:
    torch.randn_like = lambda tensor: noise.draw(*tensor.shape)


def _write_file(unets: Sequence[str] = BANDS) -> None:
    """Write a file as published, with settings as omegaconf's objects and weights of zeros."""
    content: dict[Any, Any] = {"sample_rate": toy.SAMPLE_RATE, "n_bands": len(unets)}
    for index, name in enumerate(unets):
        settings = _describe(name)
        state = _build_unet(name, index).state_dict()
        levels = _build_processor(settings, index).state_dict()
        content[index] = {
            "cfg": settings,
            "model_state": {n: torch.zeros_like(tensor) for n, tensor in state.items()},
            "processor_state": {n: torch.ones_like(tensor) for n, tensor in levels.items()},
        }
    file = io.BytesIO()
    torch.save(content, file)
    target = diffusion.DATA / f"{DIFFUSION_FILE}.gz"
    target.write_bytes(gzip.compress(file.getvalue(), mtime=0))


if __name__ == "__main__":
    main()
