"""A toy AudioGen in audiocraft's files, and the plain T5 beside it.

Settings, window, pattern and the codec's ratios are those of the published model; the widths are
small. `tests/support/audiogen_golden.py` makes the expected results.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file

from handlers.cli import main as cli
from tests.support import audiocraft as toy

GOLDEN = Path(__file__).parents[1] / "data" / "audiogen" / "golden.npz"
PROMPT = "dog barking, sirens of an emergency vehicle"
SAMPLE_RATE, HOP, FRAME_RATE, WINDOW_SECONDS = 16_000, 320, 50, 10
RATIOS = (8, 5, 4, 2)
STEPS = 20
"""Frames with expected logits."""
LONG_SECONDS, LONG_STRIDE = 14, 2
"""A clip of several windows, with audiocraft's own stride."""
SAMPLES = 30 * HOP + 5
LANGUAGE_MODEL: Mapping[str, Any] = {
    "solver": "audiogen",
    "sample_rate": SAMPLE_RATE,
    "compression_model_checkpoint": "//reference/bd44a852/checkpoint.th",
    "dataset.segment_duration": WINDOW_SECONDS,
    "transformer_lm.dim": 48,
    "classifier_free_guidance.training_dropout": 0.1,
    "conditioners.description.t5.word_dropout": 0.0,
}
CODEC: Mapping[str, Any] = {
    "sample_rate": SAMPLE_RATE,
    "seanet.dimension": 16,
    "seanet.n_filters": 4,
    "seanet.ratios": list(RATIOS),
}


@cache
def read_golden() -> dict[str, np.ndarray]:
    """Read audiocraft's results."""
    with np.load(GOLDEN) as arrays:
        return {name: arrays[name] for name in arrays.files}


def read_shapes() -> dict[str, dict[str, list[int]]]:
    """Read the shapes of audiocraft's tensors, by part."""
    shapes: dict[str, dict[str, list[int]]] = json.loads(str(read_golden()["shapes"]))
    return shapes


def write_text_encoder(folder: Path) -> None:
    """Write T5 alone, as its own repository has it: with a decoder and a tied table of words."""
    whole = folder.with_name(f"{folder.name}-whole")
    toy.write_base(whole)
    config = json.loads((whole / "config.json").read_text())["text_encoder"]
    weights = load_file(whole / "model.safetensors")
    folder.mkdir()
    prefix = "text_encoder."
    tensors = {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}
    tensors["encoder.embed_tokens.weight"] = tensors["shared.weight"].clone()
    tensors["decoder.final_layer_norm.weight"] = tensors["encoder.final_layer_norm.weight"].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "t5"}))
    (folder / "generation_config.json").write_text('{"decoder_start_token_id": 0}')
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    shutil.copy(whole / "tokenizer.json", folder / "tokenizer.json")
    shutil.rmtree(whole)


def write_model(folder: Path, shapes: Mapping[str, Mapping[str, list[int]]]) -> None:
    """Write audiocraft's files and a card from the `shapes` of both parts."""
    toy.write_files(
        folder,
        (
            toy.language_model_settings(LANGUAGE_MODEL),
            toy.draw_weights(dict(shapes["language_model"])),
        ),
        (toy.codec_settings(CODEC), toy.draw_weights(dict(shapes["codec"]))),
    )
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")


def write_inputs(folder: Path) -> None:
    """Write the model as `files`, and its text encoder as `t5`."""
    write_model(folder / "files", read_shapes())
    write_text_encoder(folder / "t5")


def convert_toy(folder: Path) -> Path:
    """Convert the toy model with the command, and return the checkpoint."""
    write_inputs(folder)
    arguments = [str(folder / "files"), "--base", str(folder / "t5")]
    assert cli.main(["convert", *arguments, "-o", str(folder / "audiogen")]) == 0
    return folder / "audiogen"
