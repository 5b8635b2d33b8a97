"""Files of multi-band diffusion: where they are, and how they are read.

A file holds `sample_rate`, `n_bands`, and for each band its settings (`cfg`), the weights of its
U-Net (`model_state`) and the levels of its bands (`processor_state`).
Source: `load_diffusion_models` of `audiocraft/models/loaders.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from musicgen.catalog import DIFFUSION_FILE
from musicgen.checkpoints.audiocraft.pickled_settings import load_with_settings, to_plain
from musicgen.checkpoints.audiocraft.settings import RunSettings
from musicgen.checkpoints.tensor_files import holds_tensors
from musicgen.errors import CheckpointCorrupt, CheckpointMismatch
from musicgen.errors.counts import format_count
from musicgen.model.diffusion.decoder import DiffusionBand, MultiBandDiffusion, Rescaling
from musicgen.model.diffusion.schedule import TRAINED_STEPS, ScheduleConfig
from musicgen.model.diffusion.unet import HEADS, Unet, UnetConfig

MAX_BANDS = 16
_ADVICE = f"Download {DIFFUSION_FILE} again."
_UNET_SETTINGS = frozenset(
    {"hidden", "depth", "growth", "max_channels", "kernel", "stride", "norm_groups", "res_blocks"}
    | {"emb_all_layers", "bilstm", "transformer", "cross_attention", "codec_dim", "dropout"}
)
_LEVELS = ("counts", "sum_x", "sum_x2", "sum_target_x2")


@dataclass(frozen=True)
class _Band:
    settings: RunSettings
    weights: Mapping[str, Tensor]
    levels: Mapping[str, Tensor]


def load_diffusion(path: Path, device: str) -> MultiBandDiffusion:
    """Read all models of a file; float32 weights on a processor stay mapped.

    Raises: a subclass of `CheckpointError`.
    """
    content = load_with_settings(path, _ADVICE)
    if not isinstance(content, dict):
        raise CheckpointCorrupt(f"{path} holds no models of diffusion. {_ADVICE}")
    rate, count = content.get("sample_rate"), content.get("n_bands")
    if not isinstance(rate, int) or not isinstance(count, int) or not 1 <= count <= MAX_BANDS:
        raise CheckpointCorrupt(f"{path} holds no models of diffusion. {_ADVICE}")
    if not 1_000 <= rate <= 384_000:
        raise CheckpointCorrupt(f"{path} has the sample rate {rate}. {_ADVICE}")
    bands = (_read_band(path, content.get(index), index) for index in range(count))
    return MultiBandDiffusion(rate, tuple(_build_band(path, band, rate, device) for band in bands))


def _read_band(path: Path, content: object, index: int) -> _Band:
    if isinstance(content, dict):
        weights, levels = content.get("model_state"), content.get("processor_state")
        if holds_tensors(weights) and holds_tensors(levels):
            settings = to_plain(path, content.get("cfg"))
            return _Band(RunSettings(f"{path.name}, band {index}", settings), weights, levels)
    raise CheckpointCorrupt(f"{path} holds no model of band {index}. {_ADVICE}")


def _build_band(path: Path, band: _Band, rate: int, device: str) -> DiffusionBand:
    config = read_unet_config(band.settings)
    with torch.device("meta"):
        unet = Unet(config)
    weights = {name.replace(".mha.", "."): tensor.float() for name, tensor in band.weights.items()}
    expected = unet.state_dict()
    wrong = [
        name
        for name in {*expected, *weights}
        if name not in expected
        or name not in weights
        or expected[name].shape != weights[name].shape
    ]
    if wrong:
        raise CheckpointMismatch(
            f"{path} and its settings differ in {format_count(len(wrong), 'weight')}, such as "
            f"{min(wrong)}. {_ADVICE}"
        )
    unet.load_state_dict(weights, assign=True)
    unet.requires_grad_(requires_grad=False)
    return DiffusionBand(
        unet.to(device).eval(), read_schedule(band.settings), _read_levels(path, band, rate)
    )


def read_unet_config(settings: RunSettings) -> UnetConfig:
    """Read the shape of a U-Net. Raises: `UnsupportedCheckpoint`, `CheckpointIncomplete`."""
    settings.require_known("diffusion_unet", _UNET_SETTINGS)
    settings.require("channels", 1)

    def number(name: str, default: int) -> int:
        return settings.get_number(f"diffusion_unet.{name}", default)

    def switch(name: str) -> bool:
        return bool(settings.require(f"diffusion_unet.{name}", False, True, default=False))

    growth = settings.get("diffusion_unet.growth", 2.0)
    if isinstance(growth, bool) or not isinstance(growth, int | float) or not 1 <= growth <= 16:
        settings.refuse("diffusion_unet.growth", growth, "It must be a number from 1 to 16.")
    codec_dim = settings.get("diffusion_unet.codec_dim", None)
    config = UnetConfig(
        hidden=number("hidden", 24),
        depth=number("depth", 3),
        growth=float(growth),
        max_channels=number("max_channels", 10_000),
        kernel=number("kernel", 4),
        stride=number("stride", 2),
        norm_groups=number("norm_groups", 4),
        res_blocks=number("res_blocks", 1),
        emb_all_layers=switch("emb_all_layers"),
        bilstm=switch("bilstm"),
        transformer=switch("transformer"),
        cross_attention=switch("cross_attention"),
        codec_dim=None if codec_dim is None else number("codec_dim", 1),
    )
    _check_shape(settings, config)
    return config


def _check_shape(settings: RunSettings, config: UnetConfig) -> None:
    """Raise `UnsupportedCheckpoint` for sizes that no model has."""
    sizes = {"depth": (config.depth, 8), "res_blocks": (config.res_blocks, 8)}
    sizes |= {"kernel": (config.kernel, 64), "stride": (config.stride, config.kernel)}
    for name, (value, most) in sizes.items():
        if value > most:
            settings.refuse(f"diffusion_unet.{name}", value, f"It must be at most {most}.")
    if max(config.widths) > 2**14:
        settings.refuse("diffusion_unet.hidden", config.hidden, "A level is too wide.")
    if any(width % config.norm_groups for width in config.widths):
        settings.refuse("diffusion_unet.norm_groups", config.norm_groups, "It must divide widths.")
    if config.transformer and config.widths[-1] % (2 * HEADS):
        problem = f"The innermost level must be a multiple of {2 * HEADS} for a transformer."
        settings.refuse("diffusion_unet.hidden", config.hidden, problem)


def read_schedule(settings: RunSettings) -> ScheduleConfig:
    """Read a noise schedule. `rescale` and `variance` have no effect on sampling in 20 steps."""
    settings.require("schedule.num_steps", TRAINED_STEPS)
    settings.require("schedule.repartition", "power", default="power")
    settings.require("schedule.n_bands", None, default=None)

    def positive(name: str, default: float) -> float:
        value = settings.get(f"schedule.{name}", default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1000:
            settings.refuse(f"schedule.{name}", value, "It must be a number above 0.")
        return float(value)

    clip = settings.get("schedule.clip", 5.0)
    return ScheduleConfig(
        positive("beta_t0", 1e-4),
        positive("beta_t1", 0.02),
        positive("beta_exp", 1.0),
        positive("clip", 5.0) if clip else 0.0,
        positive("noise_scale", 1.0),
    )


def _read_levels(path: Path, band: _Band, rate: int) -> Rescaling:
    """Read the levels of a band's processor. Raises: `CheckpointError`."""
    settings, levels = band.settings, band.levels
    if not settings.require("processor.use", False, True, default=False):
        return Rescaling(rate)
    if settings.get("processor.name", None) != "multi_band_processor":
        return Rescaling(rate)
    count = settings.get_number("processor.n_bands", 8)
    shapes = [(1,), (count,), (count,), (count,)]
    found = [tuple(levels[name].shape) if name in levels else None for name in _LEVELS]
    if found != shapes or count > 256:
        raise CheckpointMismatch(f"{path}: the levels do not fit the settings. {_ADVICE}")
    power = settings.get("processor.power_std", 1.0)
    if isinstance(power, bool) or not isinstance(power, int | float):
        settings.refuse("processor.power_std", power, "It must be one number.")
    counts, sum_x, sum_x2, sum_target = (levels[name].float() for name in _LEVELS)
    mean = sum_x / counts
    deviation = (sum_x2 / counts - mean.square()).clamp(min=0).sqrt()
    # audiocraft divides by the target's variance where its name says deviation.
    gains = (deviation / (sum_target / counts)) ** power
    if not bool(gains.isfinite().all() and mean.isfinite().all()):
        raise CheckpointCorrupt(f"{path} holds levels that are not finite. {_ADVICE}")
    return Rescaling(rate, gains, float(mean.sum()))
