"""ctypes bindings of generation. Imports no torch.

The structures mirror those of generation.cpp and sampling.h, which document their fields.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_double, c_float, c_int, c_int32, c_int64, c_void_p

from musicgen.model.native.library import Library, NativeDecoder, NativeRow


class NativeSampling(ctypes.Structure):
    """The struct of one clip's sampling."""

    _fields_ = [("top_p", c_double), ("temperature", c_float), ("top_k", c_int32)]


class NativeGenerator(ctypes.Structure):
    """The struct of the model."""

    _fields_ = [
        ("decoder", POINTER(NativeDecoder)),
        *((name, c_void_p) for name in ("heads", "embeddings")),
        *((name, c_int32) for name in ("codebooks", "vocabulary")),
    ]


class NativeJob(ctypes.Structure):
    """The struct of one window of a job."""

    _fields_ = [
        *((name, c_int32) for name in ("clips", "guided", "length", "first_column")),
        *((name, c_void_p) for name in ("guided_clips", "guidance")),
        ("sampling", POINTER(NativeSampling)),
        *((n, c_void_p) for n in ("draws", "sequence", "logits", "positions", "padding")),
        ("rows", POINTER(NativeRow)),
        *((name, c_int32) for name in ("next_column", "position", "finite", "unused")),
    ]


_SIGNATURES: dict[str, tuple[type, tuple[type, ...]]] = {
    "native_generate": (c_int, (c_void_p, c_void_p, c_void_p, c_int)),
    "native_sample": (c_int64, (c_void_p, c_int, c_void_p, c_double)),
}


def bind_generation(library: Library) -> None:
    """Declare the types of the functions of generation."""
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library.functions, name)
        function.restype, function.argtypes = result, arguments
