"""Likelihood of given music under a model."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from musicgen.engine.interface import Pcm, Row
from musicgen.engine.pytorch.conditioning import build_conditioning
from musicgen.engine.pytorch.kv_cache import StaticKVCache
from musicgen.model.decoder import build_sinusoidal_positions
from musicgen.model.delay_pattern import UNKNOWN, DelayPattern
from musicgen.model.encodec import encode_channels
from musicgen.model.musicgen import MusicGen
from musicgen.model.tokenizer import Tokenize
from musicgen.request import SamplingParams


@torch.inference_mode()
def compute_negative_log_likelihood(
    model: MusicGen, tokenize: Tokenize, prompt: str, pcm: Pcm
) -> NDArray[np.float64]:
    """Return the nats per token of `pcm`, float32 (samples, channels) at the model's sampling rate.

    One pass predicts every code of the clip from the true codes before it (teacher forcing). An
    empty prompt means unconditional.

    Returns: the mean over the frames, (codebooks,).
    """
    config = model.config.decoder
    waveform = torch.from_numpy(np.ascontiguousarray(pcm.T))[None].to(model.device)
    codes = encode_channels(model.codec, waveform)[0]
    pattern = DelayPattern(config.codebooks, config.channels, config.start_token)
    filled = pattern.build_template(codes.shape[1], codes.cpu().numpy())
    sequence = torch.from_numpy(filled).to(codes.device)
    logits = _compute_forced_logits(model, tokenize, prompt, sequence[None, :, :-1])
    targets = sequence[:, 1:].t()
    # The start token, also used to fill the delays, is never predicted.
    is_predicted = pattern.build_template(codes.shape[1])[:, 1:] == UNKNOWN
    counted = torch.from_numpy(is_predicted).t().to(targets.device)
    nats = F.cross_entropy(
        logits.flatten(0, 1), torch.where(counted, targets, 0).flatten(), reduction="none"
    ).view(targets.shape)
    mean = (nats * counted).double().sum(0) / counted.sum(0)
    return mean.cpu().numpy()


def _compute_forced_logits(
    model: MusicGen, tokenize: Tokenize, prompt: str, tokens: Tensor
) -> Tensor:
    """Return the logits after each step of `tokens` (1, codebooks, steps).

    Returns: (steps, codebooks, vocabulary).
    """
    decoder, steps = model.decoder, tokens.shape[2]
    # Without guidance there is a single row without padding.
    row = Row(prompt, 0, SamplingParams(guidance=1.0))
    conditioning = build_conditioning(model, tokenize, [row], None)
    x = decoder.embed(tokens)
    if conditioning.prefix is not None:
        x = torch.cat([conditioning.prefix, x], dim=1)
    length = x.shape[1]
    x = x + build_sinusoidal_positions(length, decoder.config.hidden_size).to(x.device, x.dtype)
    cache = StaticKVCache(decoder.config, 1, length, x.device, decoder.cache_dtype)
    causal = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
    hidden = decoder(x, cache, conditioning.cross, causal[None, None])
    return decoder.compute_logits(hidden[0, -steps:])
