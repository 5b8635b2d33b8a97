"""Measure the error of 16 and 8 bits: the decoder's logits against float32 on the same tokens.

    python bench/precision.py                     # full-size random musicgen-small, random codes
    python bench/precision.py --checkpoint FOLDER --music DIR   # a trained one, on real music

Every form of the decoder gets the same codes (teacher forcing): bfloat16 throughout, as on a GPU;
float16 weights with float32 arithmetic, the meaning of `precision=bfloat16` on an x86 processor;
int8 weights and activations; and float32 itself at other batch sizes, with pure rounding errors.
Random weights have nearly flat logits, so top-1 agreement is lower there than on a trained model.
With --music (pairs of NAME.wav and NAME.txt) the negative log-likelihood is measured too. The last
line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: the repository root is not on the path
    sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from torch import Tensor

from bench.decode import machine
from bench.full_size import build_full_size
from musicgen.checkpoints.weights import load_model
from musicgen.engine.pytorch.kv_cache import StaticKVCache
from musicgen.evaluation.likelihood import read_music
from musicgen.model.config import MusicGenConfig
from musicgen.model.decoder import build_sinusoidal_positions
from musicgen.model.delay_pattern import DelayPattern
from musicgen.model.encodec import encode_channels
from musicgen.model.kernels import choose_packing
from musicgen.model.musicgen import MusicGen
from musicgen.model.native.library import load_library
from musicgen.model.tokenizer import load_tokenizer
from musicgen.process.resources import cpu_quota

PROMPT = "80s pop track with bassy drums and synth"
TOP = 250


@dataclass(frozen=True)
class Case:
    """Tokens of a prompt, and the delayed sequence (codebooks, steps) after them."""

    text: list[int]
    sequence: Tensor


@torch.inference_mode()
def logits(model: MusicGen, case: Case, rows: int) -> Tensor:
    """Decode `rows` equal rows; return the logits (steps, codebooks, vocabulary) of row 0."""
    decoder = model.decoder
    states = model.encode_text(torch.tensor([case.text], device=model.device)).expand(rows, -1, -1)
    cross = decoder.build_cross_attention_cache(states)
    x = decoder.embed(case.sequence[None, :, :-1].to(model.device).expand(rows, -1, -1))
    x = x + build_sinusoidal_positions(x.shape[1], x.shape[2]).to(x.device, x.dtype)
    cache = StaticKVCache(decoder.config, rows, x.shape[1], model.device, decoder.cache_dtype)
    steps = []
    for step in x.split(1, dim=1):
        steps.append(decoder.compute_logits(decoder(step, cache, cross)[:, -1])[0])
        cache.advance(1)
    return torch.stack(steps)


def compare(case: Case, logits: Tensor, reference: Tensor) -> dict[str, float]:
    """Return the differences between `logits` and `reference`, and the nats of a token.

    The differences are the relative error, the agreement of the best token, the overlap of the best
    ones, and the KL divergence.
    """
    top = min(TOP, reference.shape[-1])
    mine, theirs = logits.topk(top).indices, reference.topk(top).indices
    shared = (mine[..., :, None] == theirs[..., None, :]).any(-1).float().mean()
    log_p, log_q = reference.log_softmax(-1), logits.log_softmax(-1)
    target = case.sequence[:, 1:].t().to(logits.device)
    counted = target < logits.shape[-1]
    nats = -log_q.gather(-1, target.where(counted, 0)[..., None])[..., 0][counted]
    return {
        "relative_error": float((logits - reference).norm() / reference.norm()),
        "top_1_agreement": float((mine[..., 0] == theirs[..., 0]).float().mean()),
        f"top_{top}_overlap": float(shared),
        "kl_nats": float((log_p.exp() * (log_p - log_q)).sum(-1).mean()),
        "nll_nats": float(nats.mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model",
        default="musicgen-small",
        help="shapes of a published model, or what --checkpoint is called",
    )
    parser.add_argument("--checkpoint", type=Path, help="use or make the random weights here")
    parser.add_argument("--music", type=Path, help="folder of NAME.wav and NAME.txt")
    parser.add_argument("--frames", type=int, default=60, help="of each clip")
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
            **errors(folder, options.frames, options.music),
        }
    if options.save is not None:
        options.save.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def errors(folder: Path, frames: int, music: Path | None) -> dict[str, dict[str, float]]:
    """Return the differences to float32 by form of the decoder."""
    config = MusicGenConfig.from_folder(folder)
    cpu = torch.device("cpu")

    def load(
        dtype: torch.dtype = torch.float32, pack: Callable[[MusicGen], None] | None = None
    ) -> MusicGen:
        return load_model(folder, config, cpu, dtype, pack=pack)

    exact = load()
    cases = [_random_case(folder, exact, frames)]
    if music is not None:
        cases = build_music_cases(folder, exact, music, frames)
    reference = [logits(exact, case, rows=2) for case in cases]

    def measure(model: MusicGen, rows: int = 2) -> dict[str, float]:
        differences = [
            compare(case, logits(model, case, rows), known)
            for case, known in zip(cases, reference, strict=True)
        ]
        return {
            name: sum(case[name] for case in differences) / len(differences)
            for name in differences[0]
        }

    results = {"float32": measure(exact)}
    results |= {f"float32, {rows} rows": measure(exact, rows) for rows in (1, 8)}
    del exact
    if load_library() is not None:
        results["float32, compiled"] = measure(load(pack=choose_packing("float32")))
    for precision, name in (("bfloat16", "float16 weights"), ("int8", "int8"), ("int4", "int4")):
        if (plain := choose_packing(precision, compiled=False)) is not None:
            results[f"{name}, PyTorch"] = measure(load(pack=plain))
        if load_library() is not None:
            results[f"{name}, compiled"] = measure(load(pack=choose_packing(precision)))
    results["bfloat16"] = measure(load(torch.bfloat16))
    return results


def _random_case(folder: Path, model: MusicGen, frames: int) -> Case:
    decoder = model.config.decoder
    shape, generator = (decoder.codebooks, frames), torch.Generator().manual_seed(0)
    codes = torch.randint(decoder.vocab_size, shape, generator=generator)
    return Case(load_tokenizer(folder)(PROMPT), build_sequence(model, codes))


@torch.inference_mode()
def build_music_cases(folder: Path, model: MusicGen, music: Path, frames: int) -> list[Case]:
    """Return a case for each clip in `music`, a folder of NAME.wav and NAME.txt."""
    config, tokenize = model.config, load_tokenizer(folder)
    cases = []
    for clip in read_music(music, config.sample_rate, config.channels):
        waveform = torch.from_numpy(np.ascontiguousarray(clip.pcm.T)).to(model.device)
        codes = encode_channels(model.codec, waveform[None])[0][:, :frames].cpu()
        cases.append(Case(tokenize(clip.prompt), build_sequence(model, codes)))
    return cases


def build_sequence(model: MusicGen, codes: torch.Tensor) -> torch.Tensor:
    decoder = model.config.decoder
    pattern = DelayPattern(decoder.codebooks, model.config.channels, decoder.start_token)
    return torch.from_numpy(pattern.build_template(codes.shape[1], codes.numpy()))


if __name__ == "__main__":
    main()
