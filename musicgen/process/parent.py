"""End of a child process with its parent, also if the parent is killed.

The child's standard input is a pipe. Its other end closes at the parent's death, whatever ends it.
"""

from __future__ import annotations

import os
import signal
import threading
import time

GRACE_SECONDS = 10.0
_PAUSE_SECONDS = 0.7
"""Signals that are closer may count as one."""


def end_with_parent() -> None:
    """Interrupt this process twice when its standard input ends; servers then stop at once.

    The process is killed if it still lives after `GRACE_SECONDS`.
    """
    threading.Thread(target=_watch, daemon=True, name="parent").start()


def _watch() -> None:
    while os.read(0, 64):
        pass
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(_PAUSE_SECONDS)
    time.sleep(GRACE_SECONDS)
    os._exit(1)
