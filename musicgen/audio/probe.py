"""Measure a caller's sound in a process of its own: `python -m musicgen.audio.probe FILE`.

Decoding a hostile file may take any memory and time. This process has limits of both, and the
system ends it before any other process of its container. It prints one JSON object: `seconds`, or
`problem` and `advice` of a refused file.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

MEMORY_BYTES = 2**30
"""Address space, most of it libraries. Decoding takes some 50 MB of memory."""
CPU_SECONDS = 30
_OOM_SCORE = Path("/proc/self/oom_score_adj")


def main() -> int:
    """Print the length or the problem of the file named by the first argument."""
    _limit_resources()
    from musicgen.audio.decode import measure_audio
    from musicgen.errors import InvalidInputAudio

    try:
        answer: dict[str, object] = {"seconds": measure_audio(Path(sys.argv[1]))}
    except InvalidInputAudio as error:
        # Without the name of the file: its owner has never seen it.
        answer = {"problem": error.problem, "advice": error.advice}
    sys.stdout.write(json.dumps(answer))
    return 0


def _limit_resources() -> None:
    for name, limit in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_CORE, 0),
    ):
        # Not every system knows all limits, and a lower one may apply already.
        with suppress(ValueError, OSError):
            resource.setrlimit(name, (limit, limit))
    with suppress(OSError):
        _OOM_SCORE.write_text("1000")
    # The address space of a thread for each processor would exceed the limit.
    os.putenv("OPENBLAS_NUM_THREADS", "1")


if __name__ == "__main__":
    sys.exit(main())
