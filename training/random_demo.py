"""Writes the embedded demo checkpoint: MusicGen's real architecture at toy size, random weights.

    python training/random_demo.py [FOLDER]

It makes noise, not music. It is there so that everything around the weights (loading, decoding,
codec, loudness, files, servers) can be tried offline within seconds of installing.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: the repository root is not on the path
    sys.path.insert(0, str(ROOT))

import torch

from bench.random_checkpoints import FamilySpec, build

FOLDER = ROOT / "musicgen" / "demo" / "checkpoint"
SEED = 2023
# What the loader reads; the rest of what transformers saves would only be shipped.
FILES = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}
SPEC = FamilySpec(
    vocab_size=512,
    hidden_size=64,
    heads=2,
    layers=3,
    ffn_size=128,
    text_hidden_size=32,
    codec_filters=8,
    codec_hidden_size=32,
    codec_lstm_layers=1,
)


def write_demo(folder: Path) -> None:
    """Replaces `folder` by the demo checkpoint, in float16."""
    shutil.rmtree(folder, ignore_errors=True)
    build(SPEC, folder, seed=SEED, dtype=torch.float16)
    for path in folder.iterdir():
        if path.name not in FILES:
            path.unlink()
        else:
            path.chmod(0o644)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    write_demo(parser.parse_args().folder)
