"""Limits of a process that decodes sounds of callers, and may be killed alone."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path

from musicgen.errors.sound_reasons import SoundReason

MEMORY_BYTES = 2**30
"""Address space, most of it libraries. Decoding takes some 50 MB of memory."""
CPU_SECONDS = 30
OUT_OF_LIMITS = SoundReason("out_of_limits")
_OOM_SCORE = Path("/proc/self/oom_score_adj")


def limit_resources() -> None:
    """Limit memory and time of this process, and let the system end it before any other.

    Call this before the import of NumPy: its OpenBLAS would start a thread for each processor, and
    with 24 of them their address space alone exceeds the limit.
    """
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
    os.putenv("OPENBLAS_NUM_THREADS", "1")
