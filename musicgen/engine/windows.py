"""Plan of overlapping windows for clips longer than the model's window.

The decoder was trained on clips of one length, 30 s for Meta's models. A longer clip is generated
window by window. Each window begins with the end of the known frames as context and adds new frames
up to its length. Every frame is generated once, so the time grows linearly with the length. A
longer stride means less context and fewer windows to prefill.

Source: `_generate_tokens` of audiocraft (`audiocraft/models/musicgen.py`). It counts seconds, and
is a frame short or fails where fractions of a second round badly. This plan counts whole frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

STRIDE_OF_SECONDS = 30.0
"""Window length, in seconds, to which a stride in seconds refers; other windows scale it."""


@dataclass(frozen=True)
class Window:
    """`length` frames of a clip from frame `start` on, of which the first `context` are known.

    `span`: index of the prompt span.
    """

    start: int
    context: int
    length: int
    span: int = 0

    @property
    def end(self) -> int:
        """Frame after the last one."""
        return self.start + self.length

    @property
    def new_frames(self) -> int:
        """Number of frames to generate."""
        return self.length - self.context


def plan_windows(ends: Sequence[int], known: int, window: int, stride: int) -> tuple[Window, ...]:
    """Return the windows of a clip with prompt spans ending at the frames `ends`.

    `known`: frames given in advance. `window`: longest window. `stride` (below `window`): distance
    between window starts, so `window - stride` frames are context. Each prompt span starts a new
    window, and known frames as long as a window count as one.
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
    """Convert a request's `extend_stride` to frames of a model with windows of `window` frames."""
    return min(max(1, round(seconds * window / STRIDE_OF_SECONDS)), window - 1)
