"""Likelihood of given music under a model in the native library. Imports no torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from musicgen.model.delay_pattern import UNKNOWN, DelayPattern
from musicgen.model.native.generation import Codes, NativeDecoderModel
from musicgen.model.native.window_state import NativeConditioning, NativeDecodeState
from musicgen.request import SamplingParams

UNGUIDED = SamplingParams(guidance=1.0)


def compute_negative_log_likelihood(
    decoder: NativeDecoderModel,
    pattern: DelayPattern,
    conditioning: NativeConditioning,
    codes: Codes,
) -> NDArray[np.float64]:
    """Return the nats per token of codes (codebooks, frames), the mean over the frames.

    `conditioning`: of a single row without guidance. Every code is predicted from the true codes
    before it (teacher forcing).
    """
    sequence = pattern.build_template(codes.shape[1], codes)
    targets, steps = sequence[:, 1:], sequence.shape[1] - 1
    # The start token, also used to fill the delays, is never predicted.
    counted = pattern.build_template(codes.shape[1])[:, 1:] == UNKNOWN
    draws = np.zeros((1, 1, len(codes)))
    state = NativeDecodeState(decoder, [UNGUIDED], conditioning, sequence[None], steps, draws)
    logits = decoder.compute_logits(state.run_past()[0, -steps:]).transpose(1, 0, 2)
    largest = logits.max(axis=-1, keepdims=True)
    total = np.log(np.exp(logits - largest, dtype=np.float64).sum(-1)) + largest[..., 0]
    chosen = np.take_along_axis(logits, np.where(counted, targets, 0)[..., None], -1)[..., 0]
    mean: NDArray[np.float64] = ((total - chosen) * counted).sum(1) / counted.sum(1)
    return mean
