"""Engines with the native backend, from a packed file. Imports no torch."""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from contextlib import suppress

from musicgen.checkpoints.packed.reader import PackFile
from musicgen.engine.engine import BATCH_ROWS, MusicGenEngine
from musicgen.engine.native.backend import NativeBackend
from musicgen.model.config import MusicGenConfig
from musicgen.model.native.library import load_library
from musicgen.model.tokenizer import build_tokenizer

MOVE_THREAD = "move-weights"
"""Name of the thread that moves weights to huge pages."""
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
    _move_later(backend, pack)
    return MusicGenEngine(backend, rows=rows)


def _move_later(backend: NativeBackend, pack: PackFile) -> None:
    """Start the thread that moves the weights, if the system allows one more."""
    # A model that is dropped must not stay in memory for its thread.
    arguments = (weakref.ref(backend), pack)
    with suppress(RuntimeError):
        threading.Thread(None, _move_weights, MOVE_THREAD, arguments, daemon=True).start()


def _move_weights(find_backend: weakref.ref[NativeBackend], pack: PackFile) -> None:
    if sys.platform == "linux":
        # The thread must not delay the first request. A sandbox may forbid the call.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOW_PRIORITY)
    time.sleep(_MOVE_AFTER_S)
    backend = find_backend()
    moves = iter(()) if backend is None else backend.move_weights()
    del backend
    for name in moves:
        pack.release(f"{name}.weight")
        if find_backend() is None:
            return
