"""What 16 bits cost: the decoder's logits against float32, teacher-forced on the same tokens.

    python bench/precision.py                     # full-size random musicgen-small
    python bench/precision.py --checkpoint FOLDER # any checkpoint, also a real one

Every form of the decoder is fed the same random codes: bfloat16 throughout (what runs on a GPU),
float16 weights with float32 arithmetic (what `precision=bfloat16` means on an x86 processor), and
float32 itself at other batch sizes, whose difference is pure rounding. Random weights have nearly
flat logits, so top-1 agreement is lower here than on a trained model.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: the repository root is not on the path
    sys.path.insert(0, str(ROOT))

import torch
from torch import Tensor

from bench.decode import machine
from bench.full_size import build_full_size
from musicgen.engine.kv_cache import StaticCache
from musicgen.machine import cpu_quota
from musicgen.model.config import MusicGenConfig
from musicgen.model.decoder import sinusoidal_positions
from musicgen.model.delay_pattern import DelayPattern
from musicgen.model.musicgen import MusicGen
from musicgen.model.tokenizer import load_tokenizer
from musicgen.model.weights import load_model

PROMPT = "80s pop track with bassy drums and synth"
TOP = 250


@torch.inference_mode()
def logits(model: MusicGen, text: list[int], tokens: Tensor, rows: int) -> Tensor:
    """Logits (steps, codebooks, vocabulary) of row 0 when `rows` equal rows are decoded."""
    decoder = model.decoder
    states = model.text_states(torch.tensor([text])).expand(rows, -1, -1)
    cross = decoder.cross_attention_states(states)
    x = decoder.embed(tokens.expand(rows, -1, -1))
    x = x + sinusoidal_positions(x.shape[1], x.shape[2]).to(x.dtype)
    cache = StaticCache(decoder.config, rows, x.shape[1], model.device, model.dtype)
    steps = []
    for step in x.split(1, dim=1):
        steps.append(decoder.logits(decoder(step, cache, cross)[:, -1])[0])
        cache.advance(1)
    return torch.stack(steps)


def compare(logits: Tensor, reference: Tensor) -> dict[str, float]:
    """Relative error, agreement of the best token, overlap of the best ones, KL divergence."""
    top = min(TOP, reference.shape[-1])
    mine, theirs = logits.topk(top).indices, reference.topk(top).indices
    shared = (mine[..., :, None] == theirs[..., None, :]).any(-1).float().mean()
    log_p, log_q = reference.log_softmax(-1), logits.log_softmax(-1)
    return {
        "relative_error": float((logits - reference).norm() / reference.norm()),
        "top_1_agreement": float((mine[..., 0] == theirs[..., 0]).float().mean()),
        f"top_{top}_overlap": float(shared),
        "kl_nats": float((log_p.exp() * (log_p - log_q)).sum(-1).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="musicgen-small", help="shapes of a published model")
    parser.add_argument("--checkpoint", type=Path, help="use or make the random weights here")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--save", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    torch.set_num_threads(cpu_quota())
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.checkpoint or Path(scratch) / options.model
        if not folder.exists():
            build_full_size(options.model, folder)
        result = {
            "name": "precision",
            "machine": machine("cpu", cpu_quota()),
            "model": options.model,
            "frames": options.frames,
            **errors(folder, options.frames),
        }
    if options.save is not None:
        options.save.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def errors(folder: Path, frames: int) -> dict[str, dict[str, float]]:
    config = MusicGenConfig.from_folder(folder)
    text = load_tokenizer(folder)(PROMPT)
    cpu = torch.device("cpu")
    reference_model = load_model(folder, config, cpu, torch.float32)
    pattern = DelayPattern(config.decoder.codebooks, config.channels, config.decoder.start_token)
    codes = torch.randint(
        config.decoder.vocab_size,
        (config.decoder.codebooks, frames),
        generator=torch.Generator().manual_seed(0),
    )
    tokens = pattern.template(frames, codes)[None]
    reference = logits(reference_model, text, tokens, rows=2)
    found = {
        f"float32, {rows} rows": compare(logits(reference_model, text, tokens, rows), reference)
        for rows in (1, 8)
    }
    del reference_model
    half = load_model(folder, config, cpu, torch.float32, pack_half=True)
    found["float16 weights"] = compare(logits(half, text, tokens, 2), reference)
    del half
    bfloat16 = load_model(folder, config, cpu, torch.bfloat16)
    found["bfloat16"] = compare(logits(bfloat16, text, tokens, 2), reference)
    return found


if __name__ == "__main__":
    main()
