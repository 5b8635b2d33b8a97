"""Which form of the weights a precision means on a processor."""

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
    """Natively where that was compiled, else by PyTorch's packed kernels, of which float32 needs
    none; None leaves the weights as they are. With `compiled` false by PyTorch's in any case."""
    native = load_library() if compiled else None
    fallback = _WITHOUT_COMPILER.get(precision) if can_pack() else None

    def pack(model: MusicGen) -> None:
        if native is not None and convert_to_native(native, model, FORMS[precision]):
            return
        if fallback is not None:
            fallback(model.decoder)

    return pack if native is not None or fallback is not None else None
