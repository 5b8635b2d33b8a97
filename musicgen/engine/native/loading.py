"""Engines with the native backend, from a packed file. Imports no torch."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress

from musicgen.checkpoints.packed.reader import PackFile
from musicgen.engine.engine import BATCH_ROWS, MusicGenEngine
from musicgen.engine.native.backend import NativeBackend
from musicgen.model.config import MusicGenConfig
from musicgen.model.native.library import load_library
from musicgen.model.tokenizer import build_tokenizer

_LOW_PRIORITY = 10
_MOVE_AFTER_S = 2.0
"""A worker often starts for a request that waits: its first audio comes before the move."""


def load_native(
    pack: PackFile, config: MusicGenConfig, precision: str, *, rows: int = BATCH_ROWS
) -> MusicGenEngine:
    """Load a packed file of a native form, chosen for this machine.

    Its weights are mapped, so that the engine is ready at once. A thread then copies what every
    step reads to huge pages.

    Raises: a subclass of `CheckpointError`.
    """
    library = load_library()
    assert library is not None, "choose_packed takes a native file only with a library"
    arrays = {name: pack[name] for name in pack.names()}
    tokenize = build_tokenizer(pack.read, pack.path)
    backend = NativeBackend(library, config, arrays, tokenize, precision)
    threading.Thread(target=_move_weights, args=(backend, pack), daemon=True).start()
    return MusicGenEngine(backend, rows=rows)


def _move_weights(backend: NativeBackend, pack: PackFile) -> None:
    if sys.platform == "linux":
        # The thread must not delay the first request. A sandbox may forbid the call.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOW_PRIORITY)
    time.sleep(_MOVE_AFTER_S)
    for name in backend.move_weights():
        pack.release(f"{name}.weight")
