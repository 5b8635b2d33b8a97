"""A toy MusicGen-Style in audiocraft's files, with a toy MERT and a T5 beside it.

Settings and rates are those of the published model; the widths are small, except for the two that
audiocraft fixes: 768 for MERT and 256 for its smallest transformer.
`tests/support/style_golden.py` makes the expected results.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from handlers.cli import main as cli
from tests.support import audiocraft as toy

GOLDEN = Path(__file__).parents[1] / "data" / "style" / "golden.npz"
SAMPLE_RATE, FRAME_RATE = 32_000, 50
FRAMES = 20
SECONDS = 5.2
KEPT_FEATURES = 32
"""One in so many frames of the features is kept."""
CONDITIONER = "condition_provider.conditioners.self_wav."
MERT: Mapping[str, Any] = {
    "model_type": "mert_model",
    "hidden_size": 768,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "intermediate_size": 32,
    "conv_dim": [8] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "conv_bias": False,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 16,
    "layer_norm_eps": 1e-5,
    "feat_extract_norm": "group",
    "feat_proj_layer_norm": True,
    "feature_extractor_cqt": False,
    "deepnorm": False,
    "attention_relax": -1.0,
    "do_stable_layer_norm": False,
    "sample_rate": 24_000,
}
STYLE: Mapping[str, Any] = {
    "model_name": "mert",
    "transformer_scale": "xsmall",
    "sample_rate": "${sample_rate}",
    "encodec_checkpoint": "//pretrained/facebook/encodec_32khz",
    "encodec_n_q": 3,
    "length": 3.0,
    "ds_factor": 15,
    "n_q_out": 6,
    "eval_q": 3,
    "q_dropout": True,
    "bins": 32,
    "varying_lengths": [1.5, 4.5],
    "batch_norm": True,
    "compute_mask": True,
    "num_codebooks_lm": "${transformer_lm.n_q}",
    "ds_rate_compression": 640,
    "use_middle_of_segment": True,
    "rvq_threshold_ema_dead_code": 0.1,
}
LANGUAGE_MODEL: Mapping[str, Any] = {
    "sample_rate": SAMPLE_RATE,
    "fuser.prepend": ["self_wav", "description"],
    "fuser.cross": [],
    "conditioners.self_wav": {"model": "style", "style": dict(STYLE)},
}
CODEC: Mapping[str, Any] = {
    "sample_rate": SAMPLE_RATE,
    "seanet.dimension": 16,
    "seanet.ratios": [8, 5, 4, 4],
}


@cache
def read_golden() -> dict[str, np.ndarray]:
    """Read audiocraft's results."""
    with np.load(GOLDEN) as arrays:
        return {name: arrays[name] for name in arrays.files}


def read_shapes() -> dict[str, dict[str, list[int]]]:
    """Read the shapes of audiocraft's tensors and MERT's, by part."""
    shapes: dict[str, dict[str, list[int]]] = json.loads(str(read_golden()["shapes"]))
    return shapes


def draw_weights(shapes: Mapping[str, list[int]]) -> dict[str, Tensor]:
    """Draw weights; variances are positive, and counts are 0."""
    counts = {n: torch.zeros((), dtype=torch.int64) for n in shapes if n.endswith("_tracked")}
    drawn = toy.draw_weights({n: s for n, s in shapes.items() if n not in counts})
    for name, tensor in drawn.items():
        if name.endswith("running_var"):
            drawn[name] = 0.5 + tensor.abs()
        if name.endswith("self_wav.embed.weight"):
            drawn[name] = tensor / tensor.shape[1] ** 0.5
    return drawn | counts


def draw_recording() -> np.ndarray:
    """Draw a recording (samples, 1): gliding tones over noise."""
    times = np.arange(int(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    tones = np.sin(2 * np.pi * (220 * times + 60 * times**2)) * np.sin(9 * times)
    noise = np.random.RandomState(8).standard_normal(len(times)) * 0.05
    return (0.5 * tones + noise).astype(np.float32)[:, None]


def describe_encoder() -> dict[str, Any]:
    """Describe the toy style encoder as a checkpoint's `config.json` does."""
    return {
        "feature_extractor": dict(MERT),
        "hidden_size": 256,
        "num_attention_heads": 8,
        "num_hidden_layers": 4,
        "num_codebooks": STYLE["n_q_out"],
        "codebook_size": STYLE["bins"],
        "default_codebooks": STYLE["eval_q"],
        "stride": STYLE["ds_factor"],
        "seconds": STYLE["length"],
        "shortest_seconds": STYLE["varying_lengths"][0],
        "longest_seconds": STYLE["varying_lengths"][1],
        "batch_norm": True,
    }


def write_inputs(folder: Path) -> None:
    """Write the model as `files`, its base as `base`, and MERT as `mert`."""
    shapes = read_shapes()
    toy.write_files(
        folder / "files",
        (toy.language_model_settings(LANGUAGE_MODEL), draw_weights(shapes["language_model"])),
        (toy.codec_settings(CODEC), draw_weights(shapes["codec"])),
    )
    (folder / "files" / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    toy.write_base(folder / "base")
    mert = folder / "mert"
    mert.mkdir()
    (mert / "config.json").write_text(json.dumps(MERT))
    (mert / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    torch.save(draw_weights(shapes["mert"]), mert / "pytorch_model.bin")


def convert_toy(folder: Path) -> Path:
    """Convert the toy model with the command, and return the checkpoint."""
    write_inputs(folder)
    arguments = [str(folder / "files"), "--base", str(folder / "base")]
    arguments += ["--features", str(folder / "mert"), "-o", str(folder / "style")]
    assert cli.main(["convert", *arguments]) == 0
    return folder / "style"
