"""Toy models of multi-band diffusion: settings, weights drawn from names, and their file.

`tests/support/diffusion_golden.py` gives the same models to audiocraft and keeps its results.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from musicgen.catalog import DIFFUSION_FILE
from musicgen.checkpoints.audiocraft.convert import convert
from musicgen.checkpoints.audiocraft.settings import RunSettings
from musicgen.checkpoints.diffusion import read_unet_config
from musicgen.checkpoints.locate import locate
from musicgen.checkpoints.weights import load_model
from musicgen.model.config import MusicGenConfig
from musicgen.model.diffusion.unet import Unet
from musicgen.model.encodec import Codec
from tests.support import audiocraft as toy
from tests.support.audiocraft_results import write_case

DATA = Path(__file__).parents[1] / "data" / "diffusion"
CODEC_DIM = 8
SEED, STEP = 11, 499
SAMPLES = 701
"""Samples of sounds given to single parts: no multiple of a stride."""
PROCESSOR_BANDS = 8
_UNET = {
    "hidden": 8,
    "depth": 2,
    "res_blocks": 2,
    "norm_groups": 4,
    "kernel": 8,
    "stride": 4,
    "growth": 2,
    "max_channels": 10_000,
    "dropout": 0.0,
    "emb_all_layers": True,
    "bilstm": False,
    "codec_dim": CODEC_DIM,
    "transformer": False,
    "cross_attention": False,
}
UNETS: dict[str, dict[str, Any]] = {
    "lstm": {"bilstm": True},
    "transformer": {"transformer": True},
    "cross-attention": {"transformer": True, "cross_attention": True},
    "skips": {"kernel": 4, "stride": 2, "res_blocks": 1, "emb_all_layers": False, "growth": 1.5},
}
"""Changes to the settings of a U-Net, by name of the case."""


def describe_band(unet: str, codec_dim: int = CODEC_DIM, power: float = 1.0) -> dict[str, Any]:
    """The settings of a band with the U-Net of a case."""
    return {
        "channels": 1,
        "diffusion_unet": {**_UNET, **UNETS[unet], "codec_dim": codec_dim},
        "schedule": {
            "repartition": "power",
            "variable_step_batch": True,
            "beta_t0": 1e-5,
            "beta_t1": 2.9e-2,
            "beta_exp": 7.5,
            "num_steps": 1000,
            "variance": "beta",
            "clip": 5.0,
            "rescale": 1.0,
            "n_bands": None,
            "noise_scale": 1.0,
        },
        "processor": {
            "name": "multi_band_processor",
            "use": True,
            "n_bands": PROCESSOR_BANDS,
            "num_samples": 10_000,
            "power_std": power,
        },
    }


def draw_unet(index: int, shapes: Mapping[str, Iterable[int]]) -> dict[str, Tensor]:
    """The weights of a band's U-Net, by audiocraft's names or ours."""
    drawn = {
        name: toy.draw_weights({f"{index}.{name.replace('.mha.', '.')}": list(shape)})
        for name, shape in shapes.items()
    }
    return {name: next(iter(tensors.values())) for name, tensors in drawn.items()}


def draw_levels(index: int) -> dict[str, Tensor]:
    """The state of a band's processor."""
    numbers = np.random.RandomState(100 + index).uniform(0.2, 1, (3, PROCESSOR_BANDS))
    scaled = torch.from_numpy(numbers.astype(np.float32)) * torch.tensor([[1.0], [20.0], [10.0]])
    names = ("sum_x", "sum_x2", "sum_target_x2")
    return {"counts": torch.full((1,), 100.0), **dict(zip(names, scaled, strict=True))}


def draw_sound(seed: int, rows: int = 1, samples: int = SAMPLES) -> Tensor:
    """Noise (rows, samples) whose level falls with time."""
    numbers = np.random.RandomState(seed).standard_normal((rows, samples))
    return torch.from_numpy((numbers * np.linspace(1, 0.1, samples)).astype(np.float32))


def draw_latents(rows: int = 1, frames: int = 22, dim: int = CODEC_DIM) -> Tensor:
    """Latents (rows, dim, frames)."""
    numbers = np.random.RandomState(9).standard_normal((rows, dim, frames))
    return torch.from_numpy(numbers.astype(np.float32))


def write_diffusion(
    folder: Path,
    unets: Iterable[str] = ("lstm", "skips"),
    *,
    sample_rate: int = 32_000,
    codec_dim: int = 128,
) -> Path:
    """Write a file with drawn weights and plain settings; return it."""
    content: dict[Any, Any] = {"sample_rate": sample_rate}
    for index, unet in enumerate(unets):
        settings = describe_band(unet, codec_dim)
        with torch.device("meta"):
            model = Unet(read_unet_config(RunSettings("toy", settings)))
        shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
        content[index] = {
            "cfg": settings,
            "model_state": draw_unet(index, shapes),
            "processor_state": draw_levels(index),
        }
        content["n_bands"] = index + 1
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / DIFFUSION_FILE
    torch.save(content, path)
    return path


def load_toy_codec(folder: Path) -> Codec:
    """The codec of audiocraft's toy runs, converted."""
    folder.mkdir(parents=True)
    write_case("base", folder / "files")
    toy.write_base(folder / "base")
    convert(folder / "files", locate(str(folder / "base")), folder / "converted")
    config = MusicGenConfig.from_folder(folder / "converted")
    return load_model(folder / "converted", config, torch.device("cpu"), torch.float32).codec
