"""Which form of the decoder's weights a precision means on a processor."""

from __future__ import annotations

import logging
from collections.abc import Callable

from musicgen.model.decoder import Decoder
from musicgen.model.native.decoder import use_native
from musicgen.model.native.library import FLOAT16, INT8, library
from musicgen.model.packed import can_pack, pack_half, pack_int8

logger = logging.getLogger(__name__)

Pack = Callable[[Decoder], None]
_FORMS = {"bfloat16": FLOAT16, "int8": INT8}
_WITHOUT_COMPILER: dict[str, Pack] = {"bfloat16": pack_half, "int8": pack_int8}


def packing(precision: str, *, compiled: bool = True) -> Pack | None:
    """Natively where that was compiled, else by PyTorch's packed kernels; None leaves the weights
    as they are, which float32 always does. With `compiled` false by PyTorch's in any case."""
    if precision not in _FORMS:
        return None
    native = library() if compiled else None
    fallback = _WITHOUT_COMPILER[precision] if can_pack() else None

    def pack(decoder: Decoder) -> None:
        if native is not None and use_native(native, decoder, _FORMS[precision]):
            return
        if fallback is not None:
            fallback(decoder)

    return pack if native is not None or fallback is not None else None
