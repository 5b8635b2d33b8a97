"""Export a trained codec and language model as one checkpoint in Hugging Face's format.

    python -m training.export --codec FOLDER --language-model FOLDER --output FOLDER

The checkpoint is float16 and has the files of a loader: config.json, generation_config.json,
model.safetensors, tokenizer.json. transformers and this project both load it.
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path
from typing import Any

import torch

from musicgen.model.encodec import Codec
from training.language_model.model import START_TOKEN, make_model
from training.language_model.tokenizer import write_tokenizer
from training.language_model.train import load_codec

FILES = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}
LONGEST_FRAMES = 400
"""Frames of the training clips, the length of the demo's context."""
SHARPNESS = 1.5
"""Factor of the logits. MusicGen samples from its 250 best tokens at temperature 1. Here the
vocabulary has 512 tokens, so half of them would be candidates, with many improbable ones for a
small model."""
GUIDANCE = 3.0


def export(codec_folder: Path, language_model_folder: Path, output: Path) -> None:
    """Write the checkpoint to `output`, a new folder."""
    model = make_model()
    state = torch.load(language_model_folder / "language_model.pt", weights_only=True)
    model.load_state_dict(state["model"])
    with torch.no_grad():
        for head in model.decoder.lm_heads:
            head.weight.mul_(SHARPNESS)
    set_codec(model.audio_encoder, load_codec(codec_folder))
    write(model, output)


@torch.no_grad()
def set_codec(theirs: Any, ours: Codec) -> None:
    """Copy our codec's weights into transformers' EncodecModel."""
    modules = dict(theirs.named_modules())
    for name, tensor in ours.state_dict().items():
        if name == "codebooks":
            continue
        path = re.sub(r"^(encoder|decoder)\.", r"\1.layers.", name)
        path = path.replace(".narrow.", ".block.1.").replace(".widen.", ".block.3.")
        module, _, attribute = path.rpartition(".")
        if attribute == "weight":
            # Weight normalization: the assignment splits it into magnitude and direction.
            modules[module].weight = tensor
        else:
            getattr(modules[module], attribute).copy_(tensor)
    for layer, book in zip(theirs.quantizer.layers, ours.codebooks, strict=True):
        layer.codebook.embed.copy_(book)
        layer.codebook.embed_avg.copy_(book)
        layer.codebook.cluster_size.fill_(1.0)
        layer.codebook.inited.fill_(True)


def write(model: Any, output: Path, longest_frames: int = LONGEST_FRAMES) -> None:
    """Save `model` in float16 with its tokenizer, and only the files of a loader."""
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(
        decoder_start_token_id=START_TOKEN,
        pad_token_id=START_TOKEN,
        bos_token_id=START_TOKEN,
        do_sample=True,
        guidance_scale=GUIDANCE,
        max_length=longest_frames,
    )
    output.mkdir(parents=True)
    model.eval().to(torch.float16).save_pretrained(output)
    write_tokenizer(output)
    for path in output.iterdir():
        if path.name in FILES:
            path.chmod(0o644)
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("--codec", "--language-model", "--output"):
        parser.add_argument(name, type=Path, required=True)
    options = parser.parse_args()
    export(options.codec, options.language_model, options.output)


if __name__ == "__main__":
    main()
