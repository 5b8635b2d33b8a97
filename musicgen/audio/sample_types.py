"""Convert samples to the type that a codec takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicgen.audio.dither import Dither
from musicgen.audio.pcm import Pcm


def convert_samples(pcm: Pcm, codec: str, dither: Dither | None = None) -> NDArray[Any]:
    """Convert `pcm` to the sample type of `codec`; lossy codecs are limited to full scale.

    16 bits get the `dither`. Rounding happens here: with limiting on, libsndfile truncates, and it
    scales by 2^15 - 1 where every reader divides by 2^15.
    """
    if codec == "FLOAT":
        return pcm
    if codec == "PCM_16":
        scaled = pcm * np.float32(2**15) if dither is None else dither.add(pcm * np.float32(2**15))
        return np.rint(scaled).clip(-(2**15), 2**15 - 1).astype(np.int16)
    if codec == "PCM_24":
        # soundfile expects 24 bits in the upper bits of 32.
        return np.rint(pcm * 2**23).clip(-(2**23), 2**23 - 1).astype(np.int32) << 8
    return pcm.clip(-1, 1)
