"""Teach the text encoder the meaning of words before any music, as for MusicGen's T5.

Every attribute of the piece must be predictable from the state of any token. From the music alone,
a decoder this small learns to ignore rare but decisive words, such as those of the key, for ever.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.language_model.tokenizer import make_tokenizer
from training.music.instruments import INSTRUMENTS
from training.music.piece import (
    KEYS,
    LOUDNESS,
    MODES,
    REGISTERS,
    TEMPI,
    TEXTURES,
    Piece,
    random_piece,
)
from training.music.words import describe

STEPS, BATCH, LEARNING_RATE = 1200, 64, 2e-3
_CHOICES: dict[str, tuple[Any, ...]] = {
    "instrument": (None, *INSTRUMENTS),
    "texture": TEXTURES,
    "tempo": tuple(TEMPI),
    "register": tuple(REGISTERS),
    "key": tuple(range(len(KEYS))),
    "mode": MODES,
    "loudness": tuple(LOUDNESS),
    "drums": (False, True),
}


def teach(encoder: Any, seed: int) -> float:
    """Train transformers' T5EncoderModel in place, and freeze it.

    Returns: the share of correct attributes at the end, named in the prompt or not.
    """
    encoder.requires_grad_(True)
    rng = np.random.default_rng(seed)
    tokenizer = make_tokenizer()
    heads = nn.Linear(encoder.config.d_model, sum(map(len, _CHOICES.values())))
    weights = [*encoder.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(weights, LEARNING_RATE)
    right = []
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, 2 * (1 - step / STEPS))
        pieces = [random_piece(rng) for _ in range(BATCH)]
        words = tokenizer(
            [describe(each, rng) for each in pieces], return_tensors="pt", padding=True
        )
        states = encoder(**words).last_hidden_state
        loss, correct = _loss(heads(states), words.attention_mask.float(), pieces)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        right.append(correct)
    encoder.requires_grad_(False)
    return float(np.mean(right[-STEPS // 10 :]))


def _loss(logits: Tensor, mask: Tensor, pieces: list[Piece]) -> tuple[Tensor, float]:
    """Return the nats per attribute and the share of correct ones; `logits`: (batch, tokens, n)."""
    losses, right = [], []
    parts = logits.split([len(each) for each in _CHOICES.values()], dim=-1)
    for part, (name, choices) in zip(parts, _CHOICES.items(), strict=True):
        wanted = torch.tensor([choices.index(getattr(each, name)) for each in pieces])
        wanted = wanted[:, None].expand(mask.shape)
        nats = F.cross_entropy(part.transpose(1, 2), wanted, reduction="none")
        losses.append((nats * mask).sum() / mask.sum())
        right.append(float(((part.argmax(-1) == wanted) * mask).sum() / mask.sum()))
    return torch.stack(losses).sum(), float(np.mean(right))
