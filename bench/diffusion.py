"""Compare multi-band diffusion with EnCodec's decoder on the same codes of the demo model.

    python -m bench.diffusion [SECONDS] [--bands N]

The U-Nets have the sizes of audiocraft's settings (`config/model/score/basic.yaml`, conditioned on
latents), their number is that of its grid (`4_bands_base_32khz`), and the weights are random; the
published file may have others. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import resource

import numpy as np
import torch

from musicgen.checkpoints.locate import locate
from musicgen.engine.loading import load_engine
from musicgen.engine.pytorch.backend import TorchBackend
from musicgen.model.diffusion.decoder import DiffusionBand, MultiBandDiffusion, Rescaling
from musicgen.model.diffusion.noise import SeededNoise
from musicgen.model.diffusion.schedule import ScheduleConfig
from musicgen.model.diffusion.unet import Unet, UnetConfig
from musicgen.process.resources import cpu_quota
from musicgen.process.stopwatch import Stopwatch
from musicgen.process.threads import use_threads
from musicgen.settings import Settings

SHAPE = UnetConfig(
    hidden=48,
    depth=4,
    growth=4,
    max_channels=10_000,
    kernel=8,
    stride=4,
    norm_groups=4,
    res_blocks=1,
    emb_all_layers=True,
    bilstm=False,
    transformer=False,
    cross_attention=False,
    codec_dim=128,
)
SCHEDULE = ScheduleConfig(1e-5, 2.9e-2, 7.5, 5.0, 1.0)
PUBLISHED_BANDS = 4


def main() -> None:
    """Measure some steps of one band, and print what a clip takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float, nargs="?", default=10.0)
    parser.add_argument("--steps", type=int, default=3, help="steps to measure")
    arguments = parser.parse_args()
    threads = cpu_quota()
    use_threads(threads)
    engine = load_engine(locate("demo").folder, "demo", Settings(precision="float32"))
    backend = engine.backend  # type: ignore[attr-defined]
    assert isinstance(backend, TorchBackend)
    frames = round(arguments.seconds * engine.config.frame_rate)
    codes = np.random.default_rng(0).integers(0, 64, (engine.config.codec.codebooks, frames))
    for _ in range(2):
        watch = Stopwatch()
        list(backend.decode(codes))
        encodec = watch.lap()
    step = _measure_step(backend, codes, arguments.steps)
    model_steps = MultiBandDiffusion(32_000, _build_bands(1)).count_steps(frames * 640)
    total = step * model_steps * PUBLISHED_BANDS
    result = {
        "seconds": arguments.seconds,
        "threads": threads,
        "encodec": round(encodec, 3),
        "step": round(step, 3),
        "bands": PUBLISHED_BANDS,
        "diffusion": round(total, 1),
        "times_of_audio": round(total / arguments.seconds, 1),
        "parameters_of_a_band": sum(p.numel() for p in _build_unet("meta").parameters()),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }
    print(json.dumps(result))


def _measure_step(backend: TorchBackend, codes: np.ndarray, count: int) -> float:
    """Return the seconds of one step."""
    diffusion = MultiBandDiffusion(32_000, _build_bands(1))
    with torch.inference_mode():
        latents = backend.model.codec.embed(torch.from_numpy(codes)[None])
        steps = diffusion.generate(latents, codes.shape[1] * 640, SeededNoise(0))
        next(steps)
        watch = Stopwatch()
        for _ in range(count):
            next(steps)
        return watch.lap() / count


def _build_bands(count: int) -> tuple[DiffusionBand, ...]:
    return tuple(
        DiffusionBand(_build_unet("cpu"), SCHEDULE, Rescaling(32_000)) for _ in range(count)
    )


def _build_unet(device: str) -> Unet:
    with torch.device(device):
        unet = Unet(SHAPE)
    for parameter in unet.parameters():
        if device != "meta":
            torch.nn.init.normal_(parameter, std=0.02)
    return unet.requires_grad_(requires_grad=False).eval()


if __name__ == "__main__":
    main()
