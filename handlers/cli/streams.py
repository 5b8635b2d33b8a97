"""Standard streams of a command that are closed, full, or of a narrow character set."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TextIO

from handlers.cli.statuses import EXIT_INTERRUPTED


class OutputLost(Exception):
    """Standard output cannot be written: its reader is gone, or its disk is full."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.is_reader_gone = isinstance(error, BrokenPipeError)
        self.reason = error.strerror or str(error)


class _Guarded:
    """Text stream with its failures named.

    A failed write of standard output is `OutputLost`, apart from the failures of other files. On
    standard error it is dropped: a message or a progress line never ends the work.
    """

    def __init__(self, stream: TextIO, *, drops: bool) -> None:
        self._stream = stream
        self._drops = drops

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)

    def write(self, text: str) -> int:
        with self._guard():
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        with self._guard():
            self._stream.writelines(lines)

    def flush(self) -> None:
        with self._guard():
            self._stream.flush()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # What the buffer still holds would fail again at the end of the interpreter.
            _point_to_null(self._stream.fileno())
            if not self._drops:
                raise OutputLost(error) from error


def guard_streams() -> None:
    """Make the standard streams safe to write, whatever the caller has made of them.

    A closed one leads to the null device: a file opened later would get its number. A character
    that the terminal cannot show is escaped.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            _point_to_null(number)
            stream = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
        if number:
            stream.reconfigure(errors="backslashreplace")
            stream = _Guarded(stream, drops=name == "stderr")
        setattr(sys, name, stream)


def exit_at_interrupt() -> None:
    """End the process in one line at Ctrl-C, while it has begun nothing.

    An exception inside an import shows a traceback, or is lost in a callback. A shell that starts
    a command in the background has it ignore Ctrl-C, and this stays so.
    """
    _handle_interrupt(_exit)


def raise_at_interrupt() -> None:
    """Raise `KeyboardInterrupt` at Ctrl-C, for a command to clean up."""
    _handle_interrupt(signal.default_int_handler)


def _handle_interrupt(handler: Any) -> None:
    if signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, None):
        signal.signal(signal.SIGINT, handler)


def _exit(_: int, __: FrameType | None) -> None:
    os.write(2, b"musicgen: Interrupted.\n")
    os._exit(EXIT_INTERRUPTED)


def _point_to_null(number: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)
