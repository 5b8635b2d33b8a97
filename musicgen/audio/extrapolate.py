"""Continue a waveform beyond its end by linear prediction.

A codec of overlapping windows hears some milliseconds beyond the end of a clip. Silence there is a
step, and its error spreads over the last samples. opusenc predicts the same way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from musicgen.audio.pcm import Pcm

_ORDER = 32
_HISTORY = 2048
# Poles inside the unit circle: a prediction fades and never grows.
_DAMPING = 0.99999


def extrapolate(pcm: Pcm, samples: int) -> Pcm:
    """Return the `samples` that probably follow `pcm` (samples, channels), limited to full scale.

    A channel with less than two samples, or silence, is followed by silence.
    """
    following = np.zeros((samples, pcm.shape[1]), np.float32)
    for channel in range(pcm.shape[1]):
        history = pcm[-_HISTORY:, channel].clip(-1, 1).astype(np.float64)
        weights = _predict_weights(history, min(_ORDER, len(history) // 2))
        order = len(weights)
        if not order:
            continue
        line = np.concatenate([history[-order:], np.zeros(samples)])
        for at in range(order, len(line)):
            line[at] = weights @ line[at - order : at]
        following[:, channel] = line[order:].clip(-1, 1)
    return following


def _predict_weights(history: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    """Return the weights of the last samples, oldest first, by Burg's method."""
    forward, backward = history[1:], history[:-1]
    error_filter = np.ones(1)
    for _ in range(order):
        energy = forward @ forward + backward @ backward
        if energy < 1e-12:
            break
        reflection = -2 * _DAMPING * (forward @ backward) / energy
        padded = np.append(error_filter, 0)
        error_filter = padded + reflection * padded[::-1]
        forward, backward = (
            (forward + reflection * backward)[1:],
            (backward + reflection * forward)[:-1],
        )
    return -error_filter[:0:-1]
