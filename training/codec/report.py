"""Reconstruction of held-out music by the trained codec and by two untrained ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.codec.loss import si_sdr, spectral_distance
from training.codec.train import HELD_OUT_CLIPS
from training.data import HELD_OUT_SEED, make_pool
from training.language_model.model import make_model

# Another pool than the one measured during the training.
SEED = HELD_OUT_SEED + 3
SECONDS = 2.0


@torch.no_grad()
def codec_report(checkpoint: Path, curve: Path) -> dict[str, dict[str, float]]:
    """Return the SI-SDR in dB (median over clips) and the spectral distance of three codecs.

    They are the exported codec, the block-PCA start (the training's first line) and transformers'
    own random weights.
    """
    import transformers as hf

    clips = torch.from_numpy(make_pool(SEED, HELD_OUT_CLIPS, SECONDS).sound)
    loaded = hf.MusicgenForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)
    start = json.loads(curve.read_text().splitlines()[0])
    torch.manual_seed(0)
    return {
        "trained": _figures(loaded.audio_encoder, clips),
        "block-PCA start": {name: start[name] for name in ("si_sdr", "spectral_distance")},
        "untrained": _figures(_with_random_codebooks(make_model().audio_encoder), clips),
    }


def _figures(codec: Any, clips: Tensor) -> dict[str, float]:
    codec.eval()
    codes = codec.encode(clips[:, None]).audio_codes
    decoded = codec.decode(codes, [None]).audio_values[:, 0]
    level = clips.pow(2).mean(1, keepdim=True).sqrt().clamp(min=1e-3)
    return {
        "si_sdr": si_sdr(decoded, clips).median().item(),
        "spectral_distance": spectral_distance(decoded / level, clips / level).item(),
    }


def _with_random_codebooks(codec: Any) -> Any:
    """Draw random codebooks; transformers leaves them at zero, and zero decodes to one sound."""
    for layer in codec.quantizer.layers:
        layer.codebook.embed.normal_()
    return codec
