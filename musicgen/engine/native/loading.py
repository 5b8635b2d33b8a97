"""Engines with the native backend, from a packed file. Imports no torch."""

from __future__ import annotations

from musicgen.checkpoints.packed.reader import PackFile
from musicgen.engine.engine import BATCH_ROWS, MusicGenEngine
from musicgen.engine.native.backend import NativeBackend
from musicgen.model.config import MusicGenConfig
from musicgen.model.native.library import load_library
from musicgen.model.tokenizer import build_tokenizer


def load_native(
    pack: PackFile, config: MusicGenConfig, precision: str, *, rows: int = BATCH_ROWS
) -> MusicGenEngine:
    """Load a packed file of a native form, chosen for this machine; its weights stay mapped.

    Raises: a subclass of `CheckpointError`.
    """
    library = load_library()
    assert library is not None, "choose_packed takes a native file only with a library"
    arrays = {name: pack[name] for name in pack.names()}
    tokenize = build_tokenizer(pack.read, pack.path)
    backend = NativeBackend(library, config, arrays, tokenize, precision)
    return MusicGenEngine(backend, rows=rows)
