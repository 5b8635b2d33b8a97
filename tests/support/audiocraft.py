"""Toy runs of audiocraft: their settings, and weights drawn from the names of their tensors.

The same names and shapes give the same weights everywhere, so that expected results of audiocraft
can be kept without weights. `tests/support/audiocraft_golden.py` makes those results.
"""

from __future__ import annotations

import copy
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.support.checkpoints import FamilySpec, build

Changes = Mapping[str, Any]
UNCHANGED: Changes = MappingProxyType({})
PROMPT = "slow calm piano in C minor"
FRAMES = 20
TEXT_ENCODER = "toy-t5"
TEXT_WIDTH, WIDTH, HEADS, CARD, CODEBOOKS = 16, 24, 4, 32, 4
SAMPLE_RATE, HOP = 1600, 32
DELETED = "deleted"
"""A change to this value removes the setting."""

_TRANSFORMER = {
    "dim": WIDTH,
    "num_heads": HEADS,
    "num_layers": 2,
    "hidden_scale": 2,
    "n_q": CODEBOOKS,
    "card": CARD,
    "dropout": 0.0,
    "emb_lr": None,
    "activation": "gelu",
    "norm_first": True,
    "bias_ff": False,
    "bias_attn": False,
    "bias_proj": False,
    "past_context": None,
    "causal": True,
    "custom": False,
    "memory_efficient": True,
    "attention_as_float32": False,
    "layer_scale": None,
    "positional_embedding": "sin",
    "xpos": False,
    "checkpointing": "none",
    "weight_init": "gaussian",
    "depthwise_init": "current",
    "zero_bias_init": True,
    "norm": "layer_norm",
    "cross_attention": False,
    "qk_layer_norm": False,
    "qk_layer_norm_cross": False,
    "attention_dropout": None,
    "kv_repeat": 1,
    "two_step_cfg": False,
}
_LANGUAGE_MODEL = {
    "solver": "musicgen",
    "sample_rate": SAMPLE_RATE,
    "channels": 1,
    "compression_model_checkpoint": "//pretrained/facebook/encodec_32khz",
    "compression_model_n_q": None,
    "tokens": {"padding_with_special_token": False},
    "interleave_stereo_codebooks": {"use": False, "per_timestep": False},
    "dataset": {"batch_size": 192, "segment_duration": 30, "train": {"merge_text_p": 0.25}},
    "generate": {"lm": {"use_sampling": True, "temp": 1.0, "top_k": 250, "top_p": 0.0}},
    "autocast": True,
    "autocast_dtype": "float16",
    "lm_model": "transformer_lm",
    "transformer_lm": _TRANSFORMER,
    "codebooks_pattern": {
        "modeling": "delay",
        "delay": {"delays": [0, 1, 2, 3], "flatten_first": 0, "empty_initial": 0},
        "unroll": {"flattening": [0, 1, 2, 3], "delays": [0, 0, 0, 0]},
        "music_lm": {"group_by": 2},
        "coarse_first": {"delays": [0, 0, 0]},
    },
    "classifier_free_guidance": {"training_dropout": 0.3, "inference_coef": 3.0},
    "attribute_dropout": {},
    "fuser": {
        "cross_attention_pos_emb": False,
        "cross_attention_pos_emb_scale": 1,
        "sum": [],
        "prepend": [],
        "cross": ["description"],
        "input_interpolate": [],
    },
    "conditioners": {
        "description": {
            "model": "t5",
            "t5": {
                "name": TEXT_ENCODER,
                "finetune": False,
                "word_dropout": 0.3,
                "normalize_text": False,
            },
        }
    },
}
MELODY: Changes = {
    "fuser.prepend": ["self_wav", "description"],
    "fuser.cross": [],
    "conditioners.self_wav": {
        "model": "chroma_stem",
        "chroma_stem": {
            "sample_rate": "${sample_rate}",
            "n_chroma": 12,
            "radix2_exp": 14,
            "argmax": True,
            "match_len_on_eval": False,
            "eval_wavs": None,
            "n_eval_wavs": 100,
            "cache_path": None,
        },
    },
}
"""Changes that make the text model a melody model."""
LONG_SECONDS, LONG_STRIDE, LONG_STEP = 34, 18, 10
"""A clip of several windows: its length, stride, and which of its frames are kept."""
MELODY_SECONDS = 11.3
_CODEC = {
    "sample_rate": SAMPLE_RATE,
    "channels": 1,
    "compression_model": "encodec",
    "encodec": {
        "autoencoder": "seanet",
        "quantizer": "rvq",
        "sample_rate": "${sample_rate}",
        "channels": "${channels}",
        "causal": False,
        "renormalize": False,
    },
    "seanet": {
        "dimension": 8,
        "channels": "${channels}",
        "causal": "${encodec.causal}",
        "n_filters": 2,
        "n_residual_layers": 1,
        "ratios": [4, 4, 2],
        "activation": "ELU",
        "activation_params": {"alpha": 1.0},
        "norm": "weight_norm",
        "norm_params": {},
        "kernel_size": 7,
        "residual_kernel_size": 3,
        "last_kernel_size": 7,
        "dilation_base": 2,
        "pad_mode": "constant",
        "true_skip": True,
        "compress": 2,
        "lstm": 2,
        "disable_norm_outer_blocks": 0,
        "decoder": {
            "trim_right_ratio": 1.0,
            "final_activation": None,
            "final_activation_params": None,
        },
        "encoder": {},
    },
    "rvq": {
        "n_q": CODEBOOKS,
        "q_dropout": False,
        "bins": CARD,
        "decay": 0.99,
        "kmeans_init": True,
        "kmeans_iters": 50,
        "threshold_ema_dead_code": 2,
        "orthogonal_reg_weight": 0.0,
        "orthogonal_reg_active_codes_only": False,
    },
    "no_quant": {},
}


def language_model_settings(changes: Changes = UNCHANGED) -> dict[str, Any]:
    """The settings of a toy language model, with `changes` by dotted path."""
    return _change(_LANGUAGE_MODEL, changes)


def codec_settings(changes: Changes = UNCHANGED) -> dict[str, Any]:
    """The settings of a toy codec, with `changes` by dotted path."""
    return _change(_CODEC, changes)


def draw_weights(shapes: Mapping[str, list[int]]) -> dict[str, Tensor]:
    """Weights for tensors of audiocraft's or transformers' names."""
    return {name: _draw(name, tuple(shape)) for name, shape in shapes.items()}


def draw_codes(codebooks: int = CODEBOOKS, card: int = CARD) -> Tensor:
    """Codes (1, codebooks, FRAMES) to decode."""
    numbers = np.random.RandomState(3).randint(0, card, (1, codebooks, FRAMES))
    return torch.from_numpy(numbers.astype(np.int64))


def draw_waveform(samples: int = FRAMES * HOP + 5, seed: int = 4) -> Tensor:
    """A waveform (1, 1, samples) to encode; its last frame is not whole."""
    noise = np.random.RandomState(seed).standard_normal(samples)
    return torch.from_numpy(noise.astype(np.float32))[None, None] * 0.3


def draw_melody() -> Tensor:
    """A melody (1, samples): one pitch after the other, shorter than a window."""
    times = np.arange(int(MELODY_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    semitones = np.floor(times / 1.3) * 5 % 12
    tones = np.sin(2 * np.pi * np.cumsum(220 * 2 ** (semitones / 12)) / SAMPLE_RATE)
    return torch.from_numpy(tones.astype(np.float32))[None] * 0.5


def write_base(folder: Path, *, melody: bool = False) -> None:
    """Write a Hugging Face checkpoint for what the files of a run only name."""
    spec = FamilySpec(
        model_type="musicgen_melody" if melody else "musicgen",
        chroma_frames=12 if melody else 0,
        text_hidden_size=TEXT_WIDTH,
        text_heads=2,
        text_layers=1,
        text_ffn_size=32,
    )
    build(spec, folder)
    weights = load_file(folder / "model.safetensors")
    drawn = draw_weights({name: list(tensor.shape) for name, tensor in weights.items()})
    save_file(drawn, folder / "model.safetensors", metadata={"format": "pt"})
    name_text_encoder(folder)


def name_text_encoder(folder: Path) -> None:
    """Give the text encoder of a checkpoint the name by which toy runs call it."""
    config = json.loads((folder / "config.json").read_text())
    config["text_encoder"]["_name_or_path"] = TEXT_ENCODER
    (folder / "config.json").write_text(json.dumps(config))


def describe(spec: FamilySpec) -> dict[str, Any]:
    """The changes that give a toy run the shapes of a toy checkpoint."""
    books, sides = spec.decoder_codebooks, spec.audio_channels
    return {
        "sample_rate": 32000,
        "channels": sides,
        "interleave_stereo_codebooks.use": sides == 2,
        "transformer_lm.dim": spec.hidden_size,
        "transformer_lm.num_heads": spec.heads,
        "transformer_lm.num_layers": spec.layers,
        "transformer_lm.hidden_scale": spec.ffn_size / spec.hidden_size,
        "transformer_lm.n_q": books,
        "transformer_lm.card": spec.vocab_size,
        "codebooks_pattern.delay.delays": [k // sides for k in range(books)],
        **(MELODY if spec.melody else {}),
    }


def write_files(
    folder: Path,
    language_model: tuple[Mapping[str, Any], Mapping[str, Tensor]],
    codec: tuple[Mapping[str, Any], Mapping[str, Tensor]] | None,
) -> None:
    """Write the files of a run from settings and weights; without codec it is only named."""
    folder.mkdir(parents=True)
    _save(folder / "state_dict.bin", *language_model)
    if codec is None:
        pointer = {"pretrained": "facebook/encodec_32khz", "exported": True}
        torch.save(pointer, folder / "compression_state_dict.bin")
    else:
        _save(folder / "compression_state_dict.bin", *codec)


def _save(path: Path, settings: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    text = yaml.safe_dump(settings)
    package = {"best_state": dict(weights), "xp.cfg": text, "version": "1.4.0a2", "exported": True}
    torch.save(package, path)


def _change(settings: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    changed = copy.deepcopy(dict(settings))
    for path, value in changes.items():
        *parents, name = path.split(".")
        section = changed
        for parent in parents:
            section = section.setdefault(parent, {})
        if value == DELETED:
            del section[name]
        else:
            section[name] = copy.deepcopy(value)
    return changed


def _draw(name: str, shape: tuple[int, ...]) -> Tensor:
    # T5's table of words is stored twice, and what EnCodec keeps for its training is not drawn.
    source = name.replace("encoder.embed_tokens", "shared").replace("embed_avg", "embed")
    numbers = np.random.RandomState(zlib.crc32(source.encode())).standard_normal(shape)
    tensor = torch.from_numpy(numbers.astype(np.float32))
    if name.endswith(("inited", "cluster_size")):
        return torch.ones(shape)
    if name.endswith("spec.window"):
        return torch.hann_window(*shape)
    if name.endswith(("weight_g", "original0")):
        return 1 + 0.2 * tensor
    if len(shape) == 1:
        return 0.1 * tensor + (1 if "norm" in name and name.endswith("weight") else 0)
    if name.startswith(("emb.", "text_encoder.shared")) or "embed" in name or "t5.shared" in name:
        return tensor
    return tensor / float(np.sqrt(np.prod(shape[1:])))
