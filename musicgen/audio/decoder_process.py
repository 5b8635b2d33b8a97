"""Decode a sound in a process of its own, with limits of memory and time.

The child, `python -m musicgen.audio.decoder_process FILE`, prints lines of JSON: first `rate`,
`channels` and `frames` (null if unknown), then `samples` of each block, followed by its bytes
(float32, all channels of a sample together), last `end`. A refused file ends with `problem` and
`advice`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

import musicgen
from musicgen.audio.decoder_limits import OUT_OF_LIMITS, limit_resources
from musicgen.audio.pcm import Pcm
from musicgen.audio.sound import SoundProblem

_MODULE = "musicgen.audio.decoder_process"
_ROOT = Path(musicgen.__file__).parents[1]


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
                raise SoundProblem(OUT_OF_LIMITS)
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
            raise SoundProblem(OUT_OF_LIMITS) from None
        if "problem" in line:
            raise SoundProblem(line["problem"], line["advice"])
        return line


def main() -> int:
    """Write the samples of the file named by the first argument to the standard output."""
    limit_resources()
    from musicgen.audio.decoders import open_sound

    output = sys.stdout.buffer
    try:
        sound = open_sound(Path(sys.argv[1]))
        _write_line(output, rate=sound.rate, channels=sound.channels, frames=sound.frames)
        for block in sound.read_blocks():
            _write_line(output, samples=len(block))
            output.write(block.tobytes())
        _write_line(output, end=True)
    except SoundProblem as error:
        _write_line(output, problem=error.problem, advice=error.advice)
    except OSError as error:
        _write_line(output, problem=f"cannot be read: {error.strerror}", advice="")
    output.flush()
    return 0


def _write_line(output: IO[bytes], **fields: object) -> None:
    output.write(json.dumps(fields).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
