"""Progress of a job on standard error: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

LINE_SECONDS = 5.0
_BAR = 40
_WIDTH = 60


class ProgressLine:
    """One line about progress, drawn again on a terminal.

    A file or a pipe gets a whole line at the beginning and every `LINE_SECONDS`.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._is_terminal = stream.isatty()
        self._last = clock() - LINE_SECONDS
        self._is_open = False

    def show(self, text: str, fraction: float | None = None) -> None:
        """Show a text, with a bar of `fraction` on a terminal."""
        if self._is_terminal:
            self._stream.write(f"\r{_draw_bar(fraction)}{text:<{_WIDTH}}")
            self._is_open = True
        elif self._clock() - self._last < LINE_SECONDS:
            return
        else:
            self._stream.write(f"{text}\n")
            self._last = self._clock()
        self._stream.flush()

    def close(self) -> None:
        """End an open line."""
        if self._is_open:
            self._stream.write("\n")
            self._stream.flush()
            self._is_open = False


def _draw_bar(fraction: float | None) -> str:
    if fraction is None:
        return ""
    done = round(_BAR * fraction)
    return f"[{'#' * done}{'.' * (_BAR - done)}] "
