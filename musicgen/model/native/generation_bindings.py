"""ctypes bindings of generation. Imports no torch.

The structures mirror those of generation.cpp and sampling.h, which document their fields.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_double, c_float, c_int, c_int32, c_int64, c_void_p

from musicgen.model.native.library import Library, NativeDecoder, NativeRow
from musicgen.model.native.step_file import Signatures, declare_functions


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


_SIGNATURES: Signatures = {
    "native_generate": (c_int, (c_void_p, c_void_p, c_void_p, c_int)),
    "native_sample": (c_int, (c_void_p, c_int, c_void_p, c_double, POINTER(c_int64))),
}


def bind_generation(library: Library) -> None:
    """Declare the types of the functions of generation."""
    declare_functions(library.functions, _SIGNATURES)
