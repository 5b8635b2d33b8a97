"""Write a checkpoint with random weights and a published model's shapes, to compare speeds.

    python bench/full_size.py musicgen-small /data/musicgen-small --dtype float16

The speed of a model depends on its shapes and types, not on the values of its weights. So these
folders replace the published weights (2 to 13 GB, CC-BY-NC) in all measurements of speed; random
numbers do not inherit the licence. The toy tokenizer splits a prompt into more tokens than T5's
own. An existing folder is kept; an interrupted build leaves no folder. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

if not __package__:  # run as a script: the repository root is not on the path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from bench.random_checkpoints import FamilySpec, build

SMALL = FamilySpec(
    vocab_size=2048,
    hidden_size=1024,
    heads=16,
    layers=24,
    ffn_size=4096,
    text_vocab_size=32128,
    text_hidden_size=768,
    text_heads=12,
    text_head_dim=64,
    text_ffn_size=3072,
    text_layers=12,
    codec_filters=64,
    codec_hidden_size=128,
)
MEDIUM = replace(SMALL, hidden_size=1536, heads=24, layers=48, ffn_size=6144)
LARGE = replace(SMALL, hidden_size=2048, heads=32, layers=48, ffn_size=8192)

_MONO: dict[str, FamilySpec] = {
    "small": SMALL,
    "medium": MEDIUM,
    "large": LARGE,
    "melody": replace(MEDIUM, model_type="musicgen_melody", chroma_frames=235),
    "melody-large": replace(LARGE, model_type="musicgen_melody", chroma_frames=235),
}
FULL_SIZES = {f"musicgen-{name}": spec for name, spec in _MONO.items()} | {
    f"musicgen-stereo-{name}": replace(spec, audio_channels=2) for name, spec in _MONO.items()
}
TOY = replace(
    SMALL,
    vocab_size=256,
    hidden_size=64,
    heads=4,
    layers=2,
    ffn_size=128,
    text_vocab_size=512,
    text_hidden_size=32,
    text_heads=2,
    text_head_dim=16,
    text_ffn_size=64,
    text_layers=2,
    codec_filters=4,
    codec_hidden_size=16,
)
"""Smallest shapes, to test a benchmark."""
SIZES = FULL_SIZES | {"toy": TOY}
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def build_full_size(
    name: str, folder: Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> bool:
    """Write the checkpoint unless `folder` has it. Returns: True if it was written.

    `device`: draws the weights; a GPU does it in seconds.

    Raises: `KeyError` for an unknown name, `FileExistsError` for a folder with other content.
    """
    spec = SIZES[name]
    if folder.exists():
        _require_complete(folder, spec, dtype)
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        build(spec, partial, dtype=dtype, device=device)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return True


def _require_complete(folder: Path, spec: FamilySpec, dtype: torch.dtype) -> None:
    """Check the content alone: a rename makes folders appear complete."""
    config_file = folder / "config.json"
    config = json.loads(config_file.read_text()) if config_file.exists() else {}
    decoder = config.get("decoder", {})
    present = (
        config.get("model_type"),
        config.get("dtype"),
        decoder.get("hidden_size"),
        decoder.get("audio_channels"),
    )
    expected = (
        spec.model_type,
        str(dtype).removeprefix("torch."),
        spec.hidden_size,
        spec.audio_channels,
    )
    if present != expected:
        raise FileExistsError(f"{folder} has {present}, not {expected}. Choose another folder.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(SIZES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="float32")
    parser.add_argument("--device", default="cpu", help="draws the weights")
    arguments = parser.parse_args()
    started = time.perf_counter()
    folder: Path = arguments.folder
    dtype = DTYPES[arguments.dtype]
    written = build_full_size(arguments.name, folder, dtype=dtype, device=arguments.device)
    report = {
        "name": arguments.name,
        "folder": str(folder),
        "dtype": arguments.dtype,
        "written": written,
        "bytes": sum(file.stat().st_size for file in folder.iterdir()),
        "seconds": round(time.perf_counter() - started, 1),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
