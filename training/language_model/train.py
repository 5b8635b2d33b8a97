"""Train the demo's text encoder and decoder; it may be stopped and started again at any time.

    python -m training.language_model.train --codec FOLDER --folder FOLDER --minutes 130

Reads the codec of `training.codec.train`, keeps its own state in FOLDER, and appends a JSON line to
FOLDER/curve.jsonl every few minutes: the negative log-likelihood of each codebook on held-out music
with its own prompt, with guidance, without a prompt, and with another piece's prompt.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from musicgen.model.delay_pattern import UNKNOWN, DelayPattern
from musicgen.model.encodec import Codec
from training.codec.train import CONFIG as CODEC
from training.data import HELD_OUT_SEED, make_pool
from training.language_model.model import START_TOKEN, logits, make_model
from training.language_model.text import teach
from training.language_model.tokenizer import make_tokenizer
from training.music.piece import Piece
from training.music.words import describe
from training.runs import TimedRun

SEED = 2
FRAMES = 400
BATCHES = ((8, 200), (4, 400))
"""Clips and frames of the batches, in turn. Clips are beginnings of pieces, as in generation. More
clips give more first notes, more frames give more of the later music."""
LEARNING_RATE, WARM_UP_STEPS, BETAS, WEIGHT_DECAY = 1.5e-3, 150, (0.9, 0.95), 0.05
WITHOUT_PROMPT = 0.15
CODEBOOK_WEIGHTS = (0.4, 0.3, 0.2, 0.1)
"""Notes are in the first codebook; much of the last cannot be predicted at all."""
BEGINNING_EVERY, BEGINNING_FRAMES, BEGINNING_WEIGHT = 10, 3, 8.0
"""Notes begin only at every tenth frame. The codec shows them one frame earlier, so those frames
alone decide key and tempo; all others follow from the music before. Without the extra weight, these
few frames in a hundred do not teach the words of key and tempo."""
FIRST_FRAMES, FIRST_WEIGHT = 20, 6.0
"""In the first beat only the prompt determines the music; later the music does too."""
GUIDED_FROM, GUIDED_SCALE = 0.75, 2.0
"""Guidance multiplies the effect of a prompt on a token by its scale. This model knows the effect
only roughly, and at MusicGen's scale of 3 its music left the requested key. So from this share of
the training on, the loss uses the guided prediction at this scale: a prompt then counts half in the
plain prediction, and a scale of 3 exaggerates it by only a half."""
UNGUIDED_WEIGHT = 0.2
"""Weight of the loss without a prompt, beside the guided loss."""
LABEL_SMOOTHING = 0.03
"""Improbable tokens get the same floor with a prompt and without, so guidance cannot raise them."""
CLIP_NORM = 1.0
POOL_CLIPS, STEPS_PER_POOL = 1280, 2500
FIRST_POOL = 2000
HELD_OUT_CLIPS = 64
_ENCODED_AT_ONCE = 16


@dataclass(frozen=True)
class Codes:
    """Codes (clips, books, frames) of `pieces`."""

    pieces: tuple[Piece, ...]
    codes: Tensor


class Run(TimedRun):
    """Training run of the model and its optimizer, on the codes of a codec."""

    report_seconds = 180.0

    def __init__(self, folder: Path, codec_folder: Path) -> None:
        super().__init__(folder, "language_model")
        torch.manual_seed(SEED)
        self.codec = load_codec(codec_folder)
        self.model = make_model()
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(not name.startswith(("audio_encoder.", "text_encoder.")))
        self.weights = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.weights, LEARNING_RATE, betas=BETAS, weight_decay=WEIGHT_DECAY
        )
        self.tokenizer = make_tokenizer()
        self.pattern = DelayPattern(CODEC.codebooks, 1, START_TOKEN)
        self.held_out = self._encode_pool(HELD_OUT_SEED + 1, HELD_OUT_CLIPS)
        if not self.resume():
            teach(self.model.text_encoder, SEED)

    @torch.no_grad()
    def measure(self) -> dict[str, list[float]]:
        """Return the nats of each codebook by kind of prompt."""
        self.model.eval()
        rng = np.random.default_rng(SEED)
        prompts = [describe(piece, rng, left_out=0) for piece in self.held_out.pieces]
        codes = self.held_out.codes
        kinds = {
            "own prompt": (prompts, 1.0),
            "guided": (prompts, GUIDED_SCALE),
            "no prompt": ([""] * len(prompts), 1.0),
            "another prompt": (prompts[1:] + prompts[:1], 1.0),
        }
        result = {name: self._nll(each, codes, g).tolist() for name, (each, g) in kinds.items()}
        self.model.train()
        return result

    def state(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

    def learn(self, batch: tuple[list[str], Tensor], share: float) -> None:
        rate = _schedule(self.step, share)
        for group in self.optimizer.param_groups:
            group["lr"] = LEARNING_RATE * rate
        prompts, codes = batch
        if share < GUIDED_FROM:
            loss = self._weigh_loss(self._predict(prompts, codes), codes)
        else:
            plain, guided = self._guide(prompts, codes)
            loss = self._weigh_loss(guided, codes) + UNGUIDED_WEIGHT * self._weigh_loss(
                plain, codes
            )
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, CLIP_NORM)
        self.optimizer.step()

    def _weigh_loss(self, predicted: Tensor, codes: Tensor) -> Tensor:
        """Return the training loss, weighted by frame and codebook."""
        loss, valid = self._losses(predicted, codes, LABEL_SMOOTHING)
        delay = torch.arange(CODEC.codebooks)[:, None]
        frame = torch.arange(loss.shape[2]) - delay
        early = frame < FIRST_FRAMES
        beginning = (frame + 1) % BEGINNING_EVERY < BEGINNING_FRAMES
        weights = (
            valid * (1 + (FIRST_WEIGHT - 1) * early) * (1 + (BEGINNING_WEIGHT - 1) * beginning)
        )
        books = (loss * weights).sum((0, 2)) / (weights.sum(1) * len(codes))
        return (books * torch.tensor(CODEBOOK_WEIGHTS)).sum()

    def _nll(self, prompts: list[str], codes: Tensor, scale: float = 1.0) -> Tensor:
        """Return the nats of each codebook (books,); an empty text is no prompt."""
        if scale == 1:
            predicted = self._predict(prompts, codes)
        else:
            predicted = self._guide(prompts, codes, scale)[1]
        loss, valid = self._losses(predicted, codes)
        return (loss * valid).sum((0, 2)) / (valid.sum(1) * len(codes))

    def _guide(
        self, prompts: list[str], codes: Tensor, scale: float = GUIDED_SCALE
    ) -> tuple[Tensor, Tensor]:
        """Return logits without the prompts, and with guidance by them."""
        both = self._predict([""] * len(prompts) + prompts, codes.repeat(2, 1, 1))
        plain, prompted = both.chunk(2)
        return plain, plain + scale * (prompted - plain)

    def _predict(self, prompts: list[str], codes: Tensor) -> Tensor:
        """Return logits (clips, books, steps, codes); an empty text is no prompt."""
        words = self.tokenizer(prompts, return_tensors="pt", padding=True)
        mask = words.attention_mask * torch.tensor([[bool(prompt)] for prompt in prompts])
        return logits(self.model, words.input_ids, mask, self._delay(codes)[:, :, :-1])

    def _delay(self, codes: Tensor) -> Tensor:
        return torch.from_numpy(self.pattern.build_template(codes.shape[2], codes.numpy()))

    def _losses(
        self, predicted: Tensor, codes: Tensor, smoothing: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Return the losses (clips, books, steps), and a mask (books, steps) of real tokens."""
        blank = torch.from_numpy(self.pattern.build_template(codes.shape[2]))
        loss = F.cross_entropy(
            predicted.flatten(0, 2),
            self._delay(codes)[:, :, 1:].clamp(max=CODEC.codebook_size - 1).flatten(),
            reduction="none",
            label_smoothing=smoothing,
        ).view(len(codes), CODEC.codebooks, -1)
        return loss, (blank[:, 1:] == UNKNOWN).float()

    def batches(self) -> Iterator[tuple[list[str], Tensor]]:
        while True:
            seed = FIRST_POOL + self.step // STEPS_PER_POOL
            pool = self._encode_pool(seed, POOL_CLIPS)
            while FIRST_POOL + self.step // STEPS_PER_POOL == seed:
                rng = np.random.default_rng((SEED, self.step))
                batch, frames = BATCHES[self.step % len(BATCHES)]
                clips = rng.integers(len(pool.pieces), size=batch)
                prompts = [
                    "" if rng.random() < WITHOUT_PROMPT else describe(pool.pieces[c], rng)
                    for c in clips
                ]
                yield prompts, pool.codes[clips, :, :frames]

    @torch.no_grad()
    def _encode_pool(self, seed: int, clips: int) -> Codes:
        """Return the codes of a pool, from a cache in the folder, because the encoding is slow."""
        path = self.folder / f"codes-{seed}-{clips}.pt"
        pool = make_pool(seed, clips, FRAMES / 50) if not path.exists() else None
        if pool is not None:
            sound = torch.from_numpy(pool.sound)[:, None]
            codes = torch.cat([self.codec.encode(each) for each in sound.split(_ENCODED_AT_ONCE)])
            torch.save({"codes": codes.to(torch.int16)}, path)
            return Codes(pool.pieces, codes)
        codes = torch.load(path, weights_only=True)["codes"].long()
        return Codes(make_pool(seed, clips, seconds=0.02).pieces, codes)


def load_codec(folder: Path) -> Codec:
    """Load the codec of a run of `training.codec.train`."""
    codec = Codec(CODEC)
    codec.load_state_dict(torch.load(folder / "codec.pt", weights_only=True)["codec"])
    return codec.requires_grad_(False)


def _schedule(step: int, share: float) -> float:
    cooling = 0.5 * (1 + math.cos(math.pi * share))
    return min(1.0, (step + 1) / WARM_UP_STEPS) * max(cooling, 0.02)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--codec", type=Path, required=True, help="folder of training.codec.train")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=130.0, help="of training, in all")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    Run(options.folder, options.codec).train(options.minutes)


if __name__ == "__main__":
    main()
