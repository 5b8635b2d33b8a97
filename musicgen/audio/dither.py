"""Dither for 16-bit samples, so rounding errors are noise and not distortion.

The noise has a triangular distribution of two steps (TPDF): S. P. Lipshitz, R. A. Wannamaker and
J. Vanderkooy, "Quantization and Dither", Journal of the Audio Engineering Society 40 (5), 1992.
"""

from __future__ import annotations

import numpy as np

from musicgen.audio.pcm import Pcm

_SEED = 1


class Dither:
    """Noise of one sound in pieces, the same for every sound and with every version of numpy."""

    def __init__(self) -> None:
        # The raw bits of a generator stay the same; numpy may change what its methods make of them.
        self._bits = np.random.PCG64(_SEED)

    def add(self, scaled: Pcm) -> Pcm:
        """Return `scaled` (samples, channels), where 1 is one step of 16 bits, with dither.

        A value without a fraction needs no rounding and stays: silence, and the samples of a
        16-bit file.
        """
        words = self._bits.random_raw(scaled.size).astype("<u8", copy=False)
        halves = words.view("<u4").reshape(-1, 2).astype(np.float32)
        noise = ((halves[:, 0] - halves[:, 1]) * np.float32(2**-32)).reshape(scaled.shape)
        noise[np.rint(scaled) == scaled] = 0
        return scaled + noise
