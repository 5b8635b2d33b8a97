"""Music that is longer than what the model hears at once: a plan of overlapping windows.

The decoder was trained on clips of one length, 30 s for Meta's models. A longer clip is made window
by window. Each begins with the end of what is known, its context, and adds what is left of its
length. No frame is made twice, so that the time it takes grows with the length alone: the stride
trades context against how often a context must be read.

Source: `_generate_tokens` of audiocraft (`audiocraft/models/musicgen.py`), which reckons in
seconds and so comes a frame short, or fails, where fractions of them round badly. Here time is
whole frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

STRIDE_OF_SECONDS = 30.0
"""A stride in seconds is one of a window of so many; other windows have it in proportion."""


@dataclass(frozen=True)
class Window:
    """`length` frames of a clip from frame `start` on, of which the first `known` are known.

    `section` counts the parts of the clip that have a prompt of their own.
    """

    start: int
    context: int
    length: int
    span: int = 0

    @property
    def end(self) -> int:
        return self.start + self.length

    @property
    def new_frames(self) -> int:
        return self.length - self.context


def plan_windows(ends: Sequence[int], known: int, window: int, stride: int) -> tuple[Window, ...]:
    """The windows of a clip whose sections end at the frames `ends`, `known` of which are given.

    `window` is the longest that one may be, `stride` (below it) how far the next one begins behind
    the one before; so `window - stride` frames are its context. A section begins a window of its
    own, and so does what is known when it fills one.
    """
    context = window - stride
    start = 0 if known < window else known - context
    windows = []
    span = 0
    while known < ends[-1]:
        while ends[span] <= known:
            span += 1
        end = min(start + window, ends[span])
        windows.append(Window(start, known - start, end - start, span))
        known = end
        start = max(0, known - context)
    return tuple(windows)


def compute_stride_frames(seconds: float, window: int) -> int:
    """A request's `extend_stride` in frames of a model whose windows have `window` of them."""
    return min(max(1, round(seconds * window / STRIDE_OF_SECONDS)), window - 1)
