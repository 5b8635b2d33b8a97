"""The T5 encoder of prompts in the native library. Imports no torch."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from ctypes import POINTER, c_float, c_int, c_int32, c_void_p
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicgen.errors import UnsupportedCheckpoint
from musicgen.model.config import MusicGenConfig, TextEncoderConfig
from musicgen.model.native.library import Library, check_status
from musicgen.model.native.product import (
    Arrays,
    Floats,
    NativeProduct,
    take_array,
    take_matrix,
    take_vector,
)
from musicgen.model.native.step_file import Signatures, declare_functions

_ACTIVATIONS = {
    "relu": 0,
    "gelu": 1,
    "gelu_new": 2,
    "gelu_pytorch_tanh": 2,
    "silu": 3,
    "swish": 3,
}


class _TextBlockFields(ctypes.Structure):
    """The struct `NativeTextBlock` of text_encoder.cpp."""

    _fields_ = [
        (name, c_void_p)
        for name in ("attention_norm", "qkv", "out", "ffn_norm", "up", "gate", "down")
    ]


class _TextEncoderFields(ctypes.Structure):
    """The struct `NativeTextEncoder` of text_encoder.cpp."""

    _fields_ = [
        *((n, c_int32) for n in ("blocks", "hidden", "heads", "head_dim", "ffn", "activation")),
        ("block", POINTER(_TextBlockFields)),
        ("norm", c_void_p),
        ("eps", c_float),
        ("unused", c_int32),
    ]


_SIGNATURES: Signatures = {
    "native_encode_text": (c_int, (c_void_p, c_void_p, c_int, c_void_p, c_void_p)),
}


class NativeTextEncoder:
    """T5 encoder from the tokens of one prompt to states (length, hidden_size).

    `arrays` has the weights of the whole model by the names of a packed file. The form of each
    weight decides its kernel.

    Raises: `CheckpointMismatch`, `UnsupportedCheckpoint`, `OutdatedLibrary`.
    """

    def __init__(self, library: Library, config: TextEncoderConfig, arrays: Arrays) -> None:
        if config.activation not in _ACTIVATIONS:
            raise UnsupportedCheckpoint(
                f"The activation must be one of {', '.join(_ACTIVATIONS)} "
                f"(was {config.activation!r})."
            )
        declare_functions(library.functions, _SIGNATURES)
        self._encode = library.functions.native_encode_text
        self.library, self.config = library, config
        self._arrays, self._kept = arrays, list[Any]()
        self._embedding = take_array(arrays, "text_encoder.embedding.weight")
        shape = (config.bias_buckets, config.heads)
        self._bias = take_matrix(arrays, "text_encoder.position_bias.weight", shape)
        self._blocks = (_TextBlockFields * config.layers)(
            *(self._describe_block(f"text_encoder.blocks.{i}.") for i in range(config.layers))
        )
        self._fields = _TextEncoderFields(
            config.layers,
            config.hidden_size,
            config.heads,
            config.head_dim,
            config.ffn_size,
            _ACTIVATIONS[config.activation],
            self._blocks,
            self._take_vector("text_encoder.norm.weight"),
            config.norm_eps,
        )

    def encode(self, token_ids: Sequence[int]) -> Floats:
        """Encode the tokens of a prompt; at least one.

        Raises: `ValueError` for a token outside of the vocabulary.
        """
        tokens = np.asarray(token_ids, np.int64)
        if not len(tokens) or tokens.min() < 0 or tokens.max() >= len(self._embedding):
            raise ValueError(f"tokens must be 0 to {len(self._embedding) - 1}, at least one")
        x = self._embedding[tokens].astype(np.float32)
        buckets = find_buckets(
            np.arange(1 - len(tokens), len(tokens)),
            self.config.bias_buckets,
            self.config.bias_max_distance,
        )
        bias = np.ascontiguousarray(self._bias[buckets].T)
        status = self._encode(
            self.library.pool,
            ctypes.byref(self._fields),
            len(tokens),
            bias.ctypes.data,
            x.ctypes.data,
        )
        check_status(status, "a prompt")
        return x

    def _describe_block(self, prefix: str) -> _TextBlockFields:
        config = self.config
        size, ffn, inner = config.hidden_size, config.ffn_size, config.heads * config.head_dim
        return _TextBlockFields(
            attention_norm=self._take_vector(f"{prefix}attention_norm.weight"),
            qkv=self._take_product(f"{prefix}attention.qkv", 3 * inner, size),
            out=self._take_product(f"{prefix}attention.out", size, inner),
            ffn_norm=self._take_vector(f"{prefix}ffn_norm.weight"),
            up=self._take_product(f"{prefix}ffn.up", ffn, size),
            gate=self._take_product(f"{prefix}ffn.gate", ffn, size) if config.gated else None,
            down=self._take_product(f"{prefix}ffn.down", size, ffn),
        )

    def _take_product(self, name: str, outputs: int, inputs: int) -> int:
        product = NativeProduct(self.library, self._arrays, name, outputs, inputs)
        self._kept.append(product)
        return product.address

    def _take_vector(self, name: str) -> int:
        vector = take_vector(self._arrays, name, self.config.hidden_size)
        self._kept.append(vector)
        return vector.ctypes.data


class NativePromptEncoder:
    """Text encoder and projection: from the tokens of one prompt to states of the decoder's size.

    Raises: `CheckpointMismatch`, `UnsupportedCheckpoint`.
    """

    def __init__(self, library: Library, config: MusicGenConfig, arrays: Arrays) -> None:
        self._encoder = NativeTextEncoder(library, config.text_encoder, arrays)
        inputs, size = config.text_encoder.hidden_size, config.decoder.hidden_size
        self._projection = (
            NativeProduct(library, arrays, "text_projection", size, inputs)
            if inputs != size
            else None
        )

    def encode(self, token_ids: Sequence[int]) -> Floats:
        """Encode the tokens of a prompt to states (length, hidden of the decoder)."""
        states = self._encoder.encode(token_ids)
        return states if self._projection is None else self._projection(states)


def find_buckets(distance: NDArray[np.int64], buckets: int, max_distance: int) -> NDArray[np.int64]:
    """Return the bucket of each distance from a query to a key.

    Each direction has half of the buckets: exact distances first, then logarithmic ones.
    """
    per_side = buckets // 2
    exact = per_side // 2
    far = np.maximum(np.abs(distance), 1).astype(np.float32)
    logarithms = np.log((far / np.float32(exact)).astype(np.float64)).astype(np.float32)
    share = logarithms / np.float32(math.log(max_distance / exact))
    large = exact + (share * np.float32(per_side - exact)).astype(np.int64)
    side = (distance > 0) * per_side
    near = np.abs(distance) < exact
    return side + np.where(near, np.abs(distance), np.minimum(large, per_side - 1))
