"""Settings of audiocraft's EnCodec as the configuration of a Hugging Face checkpoint.

Defaults of absent settings are those of audiocraft's classes. Source: audiocraft 1.4.0a2,
`models/builders.py`, `modules/seanet.py`, `modules/conv.py` and `quantization/vq.py`.
"""

from __future__ import annotations

import math
from typing import Any

from musicgen.checkpoints.audiocraft.settings import RunSettings

_SEANET, _DECODER, _RVQ = "seanet", "seanet.decoder", "rvq"
_NUMBERS = {
    "dimension": ("hidden_size", 128),
    "n_filters": ("num_filters", 32),
    "n_residual_layers": ("num_residual_layers", 3),
    "kernel_size": ("kernel_size", 7),
    "last_kernel_size": ("last_kernel_size", 7),
    "residual_kernel_size": ("residual_kernel_size", 3),
    "dilation_base": ("dilation_growth_rate", 2),
    "compress": ("compress", 2),
    # Without LSTM the modules have other numbers.
    "lstm": ("num_lstm_layers", 0),
}
_OTHER = (
    *("channels", "causal", "ratios", "activation", "activation_params", "norm", "norm_params"),
    *("pad_mode", "true_skip", "disable_norm_outer_blocks", "encoder", "decoder"),
)
_DECODER_ONLY = ("trim_right_ratio", "final_activation", "final_activation_params")
_TRAINING = (
    *("q_dropout", "decay", "kmeans_init", "kmeans_iters", "threshold_ema_dead_code"),
    *("orthogonal_reg_weight", "orthogonal_reg_active_codes_only", "orthogonal_reg_max_codes"),
)


def read_codec(settings: RunSettings) -> dict[str, Any]:
    """Return the fields of EnCodec's configuration.

    Raises: `UnsupportedCheckpoint` with the name of a setting that cannot be converted,
    `CheckpointIncomplete` for an absent one without a default.
    """
    settings.require("compression_model", "encodec")
    encodec = ("autoencoder", "quantizer", "sample_rate", "channels", "causal", "renormalize")
    settings.require_known("encodec", (*encodec, "renorm"))
    settings.require("encodec.autoencoder", "seanet")
    settings.require("encodec.quantizer", "rvq")
    settings.require("encodec.renormalize", False, default=False)
    settings.require("encodec.channels", 1)
    sample_rate = settings.get_number("encodec.sample_rate")
    return _read_networks(settings, sample_rate) | _read_quantizer(settings, sample_rate)


def count_codebooks(config: dict[str, Any]) -> int:
    """Return the codebooks of a codec's configuration."""
    per_codebook = _count_frame_rate(config) * _count_bits(config["codebook_size"])
    return int(1000 * config["target_bandwidths"][-1] // per_codebook)


def limit_codebooks(config: dict[str, Any], codebooks: int) -> None:
    """Write a number of codebooks into a codec's configuration, as a bandwidth in kbit/s."""
    rate = _count_frame_rate(config) * _count_bits(config["codebook_size"])
    bandwidth = codebooks * rate / 1000
    # The reader rounds down.
    if int(1000 * bandwidth // rate) != codebooks:
        bandwidth = math.nextafter(bandwidth, math.inf)
    config["target_bandwidths"] = [bandwidth]


def _read_networks(settings: RunSettings, sample_rate: int) -> dict[str, Any]:
    settings.require_known(_SEANET, (*_NUMBERS, *_OTHER))
    settings.require_known(f"{_SEANET}.encoder", ())
    settings.require_known(_DECODER, _DECODER_ONLY)
    settings.require(f"{_SEANET}.channels", 1, default=1)
    settings.require(f"{_SEANET}.activation", "ELU", default="ELU")
    settings.require_known(f"{_SEANET}.activation_params", ("alpha",))
    settings.require(f"{_SEANET}.activation_params.alpha", 1, 1.0, default=1.0)
    settings.require(f"{_SEANET}.norm", "weight_norm", "none", default="none")
    settings.require(f"{_DECODER}.final_activation", None, default=None)
    config = {
        theirs: settings.get_number(f"{_SEANET}.{ours}", default)
        for ours, (theirs, default) in _NUMBERS.items()
    }
    causal = settings.require(f"{_SEANET}.causal", False, True, default=False)
    trim = settings.get(f"{_DECODER}.trim_right_ratio", 1.0)
    is_number = isinstance(trim, int | float) and not isinstance(trim, bool)
    if not is_number or not 0 <= trim <= 1 or (trim != 1 and not causal):
        allowed = "It must be from 0 to 1, and 1 without seanet.causal."
        settings.refuse(f"{_DECODER}.trim_right_ratio", trim, allowed)
    modes = ("constant", "reflect", "replicate")
    return config | {
        "model_type": "encodec",
        "audio_channels": 1,
        "sampling_rate": sample_rate,
        "upsampling_ratios": _read_ratios(settings, sample_rate),
        "use_causal_conv": causal,
        "trim_right_ratio": float(trim),
        "pad_mode": settings.require(f"{_SEANET}.pad_mode", *modes, default="reflect"),
        "use_conv_shortcut": not settings.require(
            f"{_SEANET}.true_skip", False, True, default=True
        ),
        "codebook_dim": config["hidden_size"],
        "norm_type": "weight_norm",
        "normalize": False,
        "chunk_length_s": None,
        "overlap": None,
    }


def _read_ratios(settings: RunSettings, sample_rate: int) -> list[int]:
    path = f"{_SEANET}.ratios"
    ratios = settings.get(path, [8, 5, 4, 2])
    if not isinstance(ratios, list) or not all(type(r) is int and r > 0 for r in ratios):
        settings.refuse(path, ratios, "It must be a list of whole numbers.")
    if not ratios or sample_rate % math.prod(ratios):
        allowed = f"Their product must divide the sample rate, {sample_rate}."
        settings.refuse(path, ratios, allowed)
    return ratios


def _read_quantizer(settings: RunSettings, sample_rate: int) -> dict[str, Any]:
    settings.require_known(_RVQ, ("n_q", "bins", *_TRAINING))
    size = settings.get_number(f"{_RVQ}.bins", 1024)
    if size < 2:
        settings.refuse(f"{_RVQ}.bins", size, "It must be at least 2.")
    config: dict[str, Any] = {
        "codebook_size": size,
        "sampling_rate": sample_rate,
        "upsampling_ratios": _read_ratios(settings, sample_rate),
    }
    limit_codebooks(config, settings.get_number(f"{_RVQ}.n_q", 8))
    return config


def _count_frame_rate(config: dict[str, Any]) -> int:
    hop_length: int = math.prod(config["upsampling_ratios"])
    return math.ceil(int(config["sampling_rate"]) / hop_length)


def _count_bits(codebook_size: int) -> int:
    return math.ceil(math.log2(codebook_size))
