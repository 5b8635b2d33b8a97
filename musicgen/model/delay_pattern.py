"""The delay pattern: codebook k is predicted k steps after codebook 0.

Source: "Simple and Controllable Music Generation" (Copet et al. 2023), section 2.2. With four
codebooks and four frames (digits are frames, P is the start token) the decoder's sequence is

    step        0 1 2 3 4 5 6 7
    codebook 0  P 0 1 2 3 P P P
    codebook 1  P P 0 1 2 3 P P
    codebook 2  P P P 0 1 2 3 P
    codebook 3  P P P P 0 1 2 3

Stereo interleaves the channels (left 0, right 0, left 1, ...), both with the same delay. This
module imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musicgen.errors.counts import format_count

UNKNOWN = -1
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class DelayPattern:
    """Conversion between frames of codes and the delayed sequence of the decoder."""

    codebooks: int
    channels: int
    start_token: int

    def __post_init__(self) -> None:
        if self.codebooks % self.channels:
            raise ValueError(
                f"{format_count(self.codebooks, 'codebook')} cannot be divided into "
                f"{format_count(self.channels, 'channel')}"
            )

    @property
    def delays(self) -> tuple[int, ...]:
        """Delay of each codebook, in steps."""
        return tuple(k // self.channels for k in range(self.codebooks))

    def count_steps(self, frames: int) -> int:
        """Return the steps of a sequence with `frames` frames, the start token included."""
        return frames + self.delays[-1] + 1

    def build_template(self, frames: int, prompt: Codes | None = None) -> Codes:
        """Return the sequence before decoding (..., codebooks, steps).

        Tokens to decode are `UNKNOWN`. `prompt`: known codes (..., codebooks, prompt frames),
        placed at the beginning.
        """
        rows = () if prompt is None else prompt.shape[:-2]
        shape = (*rows, self.codebooks, self.count_steps(frames))
        template = np.full(shape, self.start_token, np.int64)
        for k, delay in enumerate(self.delays):
            template[..., k, 1 + delay : 1 + delay + frames] = UNKNOWN
            if prompt is not None:
                known = prompt.shape[-1]
                template[..., k, 1 + delay : 1 + delay + known] = prompt[..., k, :]
        return template

    def find_first_unknown(self, prompt_frames: int) -> int:
        """Return the first step to decode."""
        return prompt_frames + 1

    def revert(self, sequence: Codes) -> Codes:
        """Return the complete frames (..., codebooks, frames) of a sequence.

        `sequence`: (..., codebooks, steps), possibly partial. A frame is complete when its last
        codebook is known. A partial sequence gives the first frames of the clip.
        """
        frames = max(0, sequence.shape[-1] - self.delays[-1] - 1)
        rows = [
            sequence[..., k, 1 + delay : 1 + delay + frames] for k, delay in enumerate(self.delays)
        ]
        return np.stack(rows, axis=-2)
