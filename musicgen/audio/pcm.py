"""PCM, the representation of sound shared by the engine, `musicgen.audio` and callers."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from musicgen.errors import GenerationError
from musicgen.errors.counts import format_count

Pcm: TypeAlias = NDArray[np.float32]
"""float32 (samples, channels); full scale is [-1, 1]. Channel 0 is mono or left, 1 is right."""


def require_finite(pcm: Pcm) -> None:
    """Refuse PCM with NaN or infinity before it becomes a file of noise.

    Raises: `GenerationError` for NaN or infinity; ValueError for any shape but (samples, 1) and
    (samples, 2), such as (channels, samples): a mistake of the program.
    """
    if pcm.ndim != 2 or pcm.shape[1] not in (1, 2):
        raise ValueError(f"PCM must be (samples, 1) or (samples, 2), not {pcm.shape}")
    broken = pcm.size - int(np.count_nonzero(np.isfinite(pcm)))
    if broken:
        raise GenerationError(
            f"the generated audio holds {format_count(broken, 'NaN or infinite value')} of "
            f"{pcm.size}; no file was written: try precision=float32"
        )
