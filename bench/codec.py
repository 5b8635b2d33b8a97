"""Compare EnCodec decoders on the same codes: a whole clip, a stream, and transformers'.

    python bench/codec.py --seconds 5 30

A whole clip ("musicgen") is decoded in pieces of the size of a processor's cache, not "at once". A
"stream" has even smaller pieces. None of them computes anything twice, and all must give the same
samples as transformers. Rounds are interleaved in one process; ratios are of medians. The last line
is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: the repository root is not on the path
    sys.path.insert(0, str(ROOT))

import torch
from torch import Tensor

from bench.decode import machine
from musicgen.checkpoints.weights import load_model
from musicgen.engine.engine import STREAM_STEPS
from musicgen.model.codec_stream import CodecStream, compute_lag, decode_in_pieces
from musicgen.model.config import MusicGenConfig
from musicgen.model.encodec import Codec

TOLERANCE = 1e-4
Decode = Callable[[Tensor], Tensor]


def load_decoders(folder: Path, codec: Codec, device: str) -> dict[str, Decode]:
    """Return the decoders by name: functions from codes (codebooks, frames) to samples."""
    from transformers import MusicgenForConditionalGeneration

    peer = MusicgenForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    encodec = peer.audio_encoder.to(device).eval()
    return {
        "musicgen": lambda codes: decode_in_pieces(codec, codes, 1)[0],
        "at once": lambda codes: codec.decode(codes[None])[0, 0],
        "stream": lambda codes: decode_stream(codec, codes),
        "transformers": lambda codes: encodec.decode(codes[None, None], [None]).audio_values[0, 0],
    }


def decode_stream(codec: Codec, codes: Tensor) -> Tensor:
    stream, parts = CodecStream(codec, 1), codes.split(STREAM_STEPS, dim=1)
    return torch.cat(
        [stream.push(part, last=i == len(parts) - 1)[0] for i, part in enumerate(parts)]
    )


@torch.inference_mode()
def measure(options: argparse.Namespace, folder: Path, frames: int) -> dict[str, Any]:
    """Return the medians of all decoders for `frames`, and check their samples."""
    config = MusicGenConfig.from_folder(folder)
    codec = load_model(folder, config, torch.device(options.device), torch.float32).codec
    decoders = load_decoders(folder, codec, options.device)
    generator = torch.Generator().manual_seed(0)
    shape = (config.decoder.codebooks, frames)
    codes = torch.randint(config.decoder.vocab_size, shape, generator=generator)
    codes = codes.to(options.device)
    samples = {name: decode(codes) for name, decode in decoders.items()}
    expected = samples["transformers"]
    errors = {
        name: float((output - expected).abs().max() / expected.std())
        for name, output in samples.items()
    }
    if max(errors.values()) > TOLERANCE:
        raise AssertionError(f"not the same samples: {errors}")
    seconds: dict[str, list[float]] = {name: [] for name in decoders}
    for _ in range(options.rounds):
        for name, decode in decoders.items():
            started = time.perf_counter()
            decode(codes).cpu()
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return {
        "medians": {name: round(median, 4) for name, median in medians.items()},
        "transformers over musicgen": round(medians["transformers"] / medians["musicgen"], 3),
        "at once over musicgen": round(medians["at once"] / medians["musicgen"], 3),
        "stream over musicgen": round(medians["stream"] / medians["musicgen"], 3),
        "largest difference over standard deviation": max(errors.values()),
        "lag_samples": compute_lag(codec),
    }


def main() -> None:
    from bench.full_size import build_full_size
    from musicgen.process.resources import cpu_quota

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="musicgen-small", help="shapes of a published model")
    parser.add_argument("--checkpoint", type=Path, help="use or make the random weights here")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, nargs="+", default=[5.0, 30.0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=cpu_quota())
    parser.add_argument("--save", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.checkpoint or Path(scratch) / options.model
        build_full_size(options.model, folder, dtype=torch.float32)
        lengths = {f"{s:g} s": measure(options, folder, round(50 * s)) for s in options.seconds}
    result = {
        "name": "codec",
        "machine": machine(options.device, options.threads),
        "rounds": options.rounds,
        "lengths": lengths,
    }
    if options.save is not None:
        options.save.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
