"""Train the toy melody model, and write it as a checkpoint for transformers and this project.

    python -m training.melody.train --output FOLDER --minutes 12

It uses no words: prompts are empty, and the text encoder keeps its random weights.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from musicgen.checkpoints.weights import load_model
from musicgen.model.config import MusicGenConfig
from musicgen.model.delay_pattern import UNKNOWN, DelayPattern
from training.export import set_codec
from training.export import write as write_checkpoint
from training.melody.notes import PITCHES, extract_chroma, melody
from training.music.instruments import RATE

DEMO = Path(__file__).parents[2] / "musicgen/demo/checkpoint"
FRAMES, CHROMA_FRAMES = 250, 40
"""Length of a window: five seconds, the shortest possible one."""
WIDTH, LAYERS, HEADS = 128, 3, 4
TUNES, TUNE_SECONDS = 60, 300
BATCH, LEARNING_RATE, WITHOUT_MELODY = 16, 1.5e-3, 0.1
GRID_FRAMES, GRID_CHROMA = 32, 5
"""Shortest time with whole frames in both, 0.64 s: the grid of the windows."""
SEED = 0


def make_model() -> Any:
    """Build transformers' melody model with random weights and the demo's codec."""
    import transformers as hf

    demo = json.loads((DEMO / "config.json").read_text())
    codes = demo["audio_encoder"]["codebook_size"]
    torch.manual_seed(SEED)
    config = hf.MusicgenMelodyConfig(
        text_encoder=hf.T5Config(**demo["text_encoder"]),
        audio_encoder=hf.EncodecConfig(**demo["audio_encoder"]),
        decoder=hf.MusicgenMelodyDecoderConfig(
            vocab_size=codes,
            max_position_embeddings=2048,
            num_hidden_layers=LAYERS,
            ffn_dim=4 * WIDTH,
            num_attention_heads=HEADS,
            hidden_size=WIDTH,
            dropout=0.0,
            num_codebooks=demo["decoder"]["num_codebooks"],
            audio_channels=1,
            pad_token_id=codes,
            bos_token_id=codes,
        ),
        num_chroma=PITCHES,
        chroma_length=CHROMA_FRAMES,
    )
    return hf.MusicgenMelodyForConditionalGeneration(config)


class Trainer:
    """Training of the codes of melodies from their chroma.

    Its windows come from long tunes; their number makes learning by heart impossible.
    """

    def __init__(self) -> None:
        self.theirs = make_model()
        config = MusicGenConfig.from_folder(DEMO)
        demo = load_model(DEMO, config, torch.device("cpu"), torch.float32)
        self.codec = demo.codec
        set_codec(self.theirs.audio_encoder, self.codec)
        self.pattern = DelayPattern(config.decoder.codebooks, 1, config.decoder.start_token)
        melodic = replace(config, chroma_bins=PITCHES)
        rng = np.random.default_rng(SEED)
        tunes = [melody(TUNE_SECONDS * config.frame_rate, rng) for _ in range(TUNES)]
        self.chroma = torch.stack([extract_chroma(each, melodic) for each in tunes])
        self.codes = torch.cat([self._codes(each) for each in tunes])
        parts = (self.theirs.decoder, self.theirs.audio_enc_to_dec_proj)
        self.weights = [weight for part in parts for weight in part.parameters()]
        self.optimizer = torch.optim.AdamW(self.weights, LEARNING_RATE, betas=(0.9, 0.98))
        self.blank = torch.from_numpy(self.pattern.build_template(FRAMES)[:, 1:] == UNKNOWN)

    @torch.no_grad()
    def _codes(self, tune: Any) -> Tensor:
        parts = torch.from_numpy(tune)[None, None].split(TUNE_SECONDS * RATE // 10, dim=-1)
        return torch.cat([self.codec.encode(each) for each in parts], dim=-1)

    def _batch(self) -> tuple[Tensor, Tensor]:
        """Return chroma (clips, CHROMA_FRAMES, 12) and sequences (clips, books, steps)."""
        last = (self.codes.shape[-1] - FRAMES) // GRID_FRAMES
        chroma, sequences = [], []
        for _ in range(BATCH):
            tune, place = int(torch.randint(TUNES, ())), int(torch.randint(last, ()))
            first, frame = place * GRID_CHROMA, place * GRID_FRAMES
            chroma.append(self.chroma[tune, first : first + CHROMA_FRAMES].clone())
            codes = self.codes[tune, :, frame : frame + FRAMES]
            sequences.append(torch.from_numpy(self.pattern.build_template(FRAMES, codes.numpy())))
        return torch.stack(chroma), torch.stack(sequences)

    def step(self, share: float) -> float:
        """Train on one batch and return its mean nats of a token."""
        for group in self.optimizer.param_groups:
            group["lr"] = (
                LEARNING_RATE * min(1.0, 50 * share) * 0.5 * (1 + math.cos(math.pi * share))
            )
        chroma, sequence = self._batch()
        silent = torch.rand(BATCH) < WITHOUT_MELODY
        chroma[silent] = F.one_hot(torch.tensor(0), PITCHES).float()
        loss = self._loss(chroma, sequence)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        return float(loss.detach())

    def _loss(self, chroma: Tensor, sequence: Tensor) -> Tensor:
        states = self.theirs.audio_enc_to_dec_proj(chroma)
        no_prompt = torch.zeros(len(chroma), 1, WIDTH)
        out = self.theirs.decoder(
            input_ids=sequence[:, :, :-1].flatten(0, 1),
            encoder_hidden_states=torch.cat([states, no_prompt], dim=1),
        ).logits
        books, steps = self.blank.shape
        predicted = out.unflatten(0, (len(chroma), books))[:, :, -steps:]
        wanted = sequence[:, :, 1:].clamp(max=predicted.shape[-1] - 1)
        nats = F.cross_entropy(predicted.flatten(0, 2), wanted.flatten(), reduction="none").view(
            wanted.shape
        )
        return (nats * self.blank).sum() / (self.blank.sum() * len(chroma))


def train(output: Path, minutes: float) -> None:
    """Train and write the checkpoint. Raises: `FileExistsError` for an existing `output`."""
    torch.manual_seed(SEED)
    trainer = Trainer()
    begun, steps = time.monotonic(), 0
    while (share := (time.monotonic() - begun) / (60 * minutes)) < 1:
        nats = trainer.step(share)
        steps += 1
        if steps % 50 == 0:
            print(f"{steps} steps, {share:.0%}: {nats:.3f} nats", flush=True)
    write_checkpoint(trainer.theirs, output, FRAMES)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=12.0)
    options = parser.parse_args()
    train(options.output, options.minutes)


if __name__ == "__main__":
    main()
