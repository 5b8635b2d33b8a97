"""Train the demo's codec; it may be stopped and started again at any time.

    python -m training.codec.train --folder FOLDER --minutes 50

FOLDER has the state of the run, outside the repository. Every report is one JSON line in
FOLDER/curve.jsonl: minutes of training, steps, and the figures on held-out music.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from musicgen.model.config import CodecConfig
from musicgen.model.encodec import Codec
from training.codec.loss import reconstruction_loss, si_sdr, spectral_distance
from training.codec.quantizer import Quantizer
from training.codec.start import pca_start
from training.data import HELD_OUT_SEED, make_pool
from training.music.instruments import RATE
from training.runs import TimedRun

CONFIG = CodecConfig(
    sample_rate=RATE,
    channels=1,
    codebooks=4,
    codebook_size=512,
    codebook_dim=128,
    hidden_size=128,
    filters=8,
    residual_layers=1,
    ratios=(8, 5, 4, 4),
    kernel_size=7,
    last_kernel_size=7,
    residual_kernel_size=3,
    dilation_growth=2,
    compress=2,
    lstm_layers=1,
    causal=False,
    conv_shortcut=False,
    pad_mode="reflect",
    trim_right_ratio=1.0,
)
SEED = 1
BATCH, CROP, HOP = 8, RATE // 2, RATE // 50
LEARNING_RATE, WARM_UP_STEPS, BETAS = 1e-3, 100, (0.8, 0.99)
COMMITMENT, CLIP_NORM, DITHER = 0.25, 5.0, 3e-4
POOL_CLIPS, STEPS_PER_POOL = 1536, 2000
HELD_OUT_CLIPS = 64
START_CLIPS, PCA_CLIPS, START_VECTORS = 512, 128, 20_000


class Run(TimedRun):
    """Training run of the codec, its quantizer and its optimizer."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "codec")
        self.generator = torch.Generator().manual_seed(SEED)
        self.codec = Codec(CONFIG)
        self.quantizer = Quantizer(self.codec, self.generator)
        weights = [p for p in self.codec.parameters() if p is not self.codec.codebooks]
        for weight in weights:
            weight.requires_grad_(True)
        self.weights = weights
        self.optimizer = torch.optim.AdamW(weights, LEARNING_RATE, betas=BETAS, weight_decay=0.0)
        held_out = make_pool(HELD_OUT_SEED, HELD_OUT_CLIPS, seconds=2.0)
        self.held_out = torch.from_numpy(held_out.sound)
        if not self.resume():
            self._start()

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return median SI-SDR in dB and spectral distance on held-out music, also unquantized."""
        clips = self.held_out
        vectors = self.codec.encoder(clips[:, None])
        codes = self.codec.encode(clips[:, None])
        decoded = self.codec.decode(codes)[:, 0]
        plain = self.codec.decoder(vectors)[:, 0]
        level = clips.pow(2).mean(1, keepdim=True).sqrt().clamp(min=1e-3)
        used = [codes[:, k].unique().numel() / CONFIG.codebook_size for k in range(codes.shape[1])]
        return {
            "si_sdr": si_sdr(decoded, clips).median().item(),
            "si_sdr_unquantized": si_sdr(plain, clips).median().item(),
            "spectral_distance": spectral_distance(decoded / level, clips / level).item(),
            "codes_used": sum(used) / len(used),
        }

    def state(self) -> dict[str, Any]:
        return {
            "codec": self.codec.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "counts": self.quantizer.counts,
            "sums": self.quantizer.sums,
            "generator": self.generator.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.codec.load_state_dict(state["codec"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.quantizer.counts, self.quantizer.sums = state["counts"], state["sums"]
        self.generator.set_state(state["generator"])

    def _start(self) -> None:
        clips = torch.from_numpy(make_pool(0, START_CLIPS, seconds=2.0).sound)
        level = clips.pow(2).mean(1, keepdim=True).sqrt().clamp(min=1e-3)
        with torch.no_grad():
            pca_start(self.codec, (clips / level * 0.1)[:PCA_CLIPS, None], self.generator)
            # At the levels of the music, because the codebooks must distinguish them.
            parts = [self.codec.encoder(part[:, None]) for part in clips.split(PCA_CLIPS)]
            vectors = torch.cat(parts).transpose(1, 2).flatten(0, 1)
            picked = torch.randperm(len(vectors), generator=self.generator)[:START_VECTORS]
            self.quantizer.start(vectors[picked])
        self.report()

    def learn(self, batch: Tensor, share: float) -> None:
        rate = _schedule(self.step, share)
        for group in self.optimizer.param_groups:
            group["lr"] = LEARNING_RATE * rate
        vectors = self.codec.encoder(batch[:, None])
        flat = vectors.transpose(1, 2).flatten(0, 1)
        quantized, commitment, _ = self.quantizer(flat)
        back = quantized.view(len(batch), -1, flat.shape[1]).transpose(1, 2)
        output = self.codec.decoder(back)[:, 0]
        loss = reconstruction_loss(output, batch) + COMMITMENT * commitment
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, CLIP_NORM)
        self.optimizer.step()

    def batches(self) -> Iterator[Tensor]:
        while True:
            seed = 1 + self.step // STEPS_PER_POOL
            pool = make_pool(seed, POOL_CLIPS).sound
            while 1 + self.step // STEPS_PER_POOL == seed:
                rng = np.random.default_rng((SEED, self.step))
                clips = rng.integers(len(pool), size=BATCH)
                # Notes begin with a frame, as in the output of the language model.
                starts = rng.integers((pool.shape[1] - CROP) // HOP, size=BATCH) * HOP
                crops = [pool[c, s : s + CROP] for c, s in zip(clips, starts, strict=True)]
                noise = rng.standard_normal((BATCH, CROP)).astype(np.float32) * DITHER
                yield torch.from_numpy(np.stack(crops) + noise)


def _schedule(step: int, share: float) -> float:
    """Return the rate: a warm-up, a constant, and a cosine over the second half of the time."""
    cooling = 0.5 * (1 + math.cos(math.pi * max(0.0, 2 * share - 1)))
    return min(1.0, (step + 1) / WARM_UP_STEPS) * max(cooling, 0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=50.0, help="of training, in all")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    Run(options.folder).train(options.minutes)


if __name__ == "__main__":
    main()
