"""Decode a sound in a process of its own, with limits of memory and time.

The child is `musicgen.audio.decoder_main`.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import musicgen
from musicgen.audio.decoder_limits import OUT_OF_LIMITS
from musicgen.audio.pcm import Pcm
from musicgen.audio.sound import SoundProblem
from musicgen.errors.sound_reasons import SoundReason

_MODULE = "musicgen.audio.decoder_main"
_ROOT = Path(musicgen.__file__).parents[1]
_END_SECONDS = 1.0
"""A child without output is about to end."""

logger = logging.getLogger(__name__)


class DecoderProcess:
    """Sound decoded by a child process.

    A crash of the child is a problem of the file. Raises: `SoundProblem`; OSError.
    """

    def __init__(self, path: Path) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", _MODULE, str(path.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Its modules are found from there, however this process was started.
            cwd=_ROOT,
        )
        assert self._child.stdout is not None, "a pipe was asked for"
        self._output = self._child.stdout
        try:
            head = self._read_line()
        except BaseException:
            self.close()
            raise
        self.rate, self.channels = int(head["rate"]), int(head["channels"])
        self.frames: int | None = head["frames"]

    def read_blocks(self) -> Iterator[Pcm]:
        """Iterate over all samples. Raises: `SoundProblem`."""
        while "end" not in (line := self._read_line()):
            size = 4 * line["samples"] * self.channels
            data = self._output.read(size)
            if len(data) < size:
                raise self._report_end()
            yield np.frombuffer(data, np.float32).reshape(-1, self.channels)

    def close(self) -> None:
        """End the child."""
        self._child.kill()
        self._output.close()
        self._child.wait()

    def _read_line(self) -> dict[str, Any]:
        try:
            line: dict[str, Any] = json.loads(self._output.readline())
        except ValueError:
            raise self._report_end() from None
        if "reason" in line:
            raise SoundProblem(SoundReason.from_mapping(line), line["advice"])
        return line

    def _report_end(self) -> SoundProblem:
        """Log the status of a child that ended early, and return the problem of its file."""
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(_END_SECONDS)
        logger.warning("the decoder of a sound ended early, with status %s", self._child.returncode)
        return SoundProblem(OUT_OF_LIMITS)
