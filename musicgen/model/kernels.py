"""Choice of CPU kernels for a precision."""

from __future__ import annotations

import logging
from collections.abc import Callable

from musicgen.model.fbgemm import can_pack, pack_half, pack_int8
from musicgen.model.musicgen import MusicGen
from musicgen.model.native.library import load_library
from musicgen.model.native.model import FORMS, convert_to_native

logger = logging.getLogger(__name__)

PackModel = Callable[[MusicGen], None]
_WITHOUT_COMPILER = {"bfloat16": pack_half, "int8": pack_int8}


def choose_packing(precision: str, *, compiled: bool = True) -> PackModel | None:
    """Return a function that packs a model's weights, or None to leave them as they are.

    Native kernels are preferred if they were compiled and `compiled` is true. The fallback is
    FBGEMM; float32 needs no packing there.
    """
    native = load_library() if compiled else None
    fallback = _WITHOUT_COMPILER.get(precision) if can_pack() else None

    def pack(model: MusicGen) -> None:
        if native is not None and convert_to_native(native, model, FORMS[precision]):
            return
        if fallback is not None:
            fallback(model.decoder)

    return pack if native is not None or fallback is not None else None
