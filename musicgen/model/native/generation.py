"""The decoder of a packed file: its parts, and steps of several windows. Imports no torch."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicgen.errors import UnsupportedCheckpoint
from musicgen.model.config import DecoderConfig
from musicgen.model.native.generation_bindings import (
    NativeGenerator,
    NativeJob,
    bind_generation,
)
from musicgen.model.native.huge_pages import reserve_huge_pages
from musicgen.model.native.kv_cache import CacheForm, choose_cache_form
from musicgen.model.native.library import (
    Library,
    NativeDecoder,
    NativeLayer,
    NativeRow,
    check_status,
)
from musicgen.model.native.product import Arrays, Floats, NativeProduct, take_matrix, take_vector
from musicgen.model.positions import build_sinusoidal_positions

ACTIVATIONS = {"gelu": 0, "relu": 1}
COLUMNS_AT_ONCE = 8
"""Columns per call during prefill. More would need more memory and save no weight reads."""
LEAST_MOVED = 2**25
"""Bytes of weights below which the caches of many processors hold all of them."""
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class PromptKeys:
    """Keys and values of one prompt for cross-attention: (layers, heads, tokens, head_dim)."""

    keys: NDArray[Any]
    values: NDArray[Any]


class NativeDecoderModel:
    """The decoder with packed weights: embedding, layers, heads, and steps of several windows.

    `arrays` has the weights of the whole model by the names of a packed file. `cache`: format of
    keys and values; None is that for the weights.

    Raises: `CheckpointMismatch`, `UnsupportedCheckpoint`.
    """

    def __init__(
        self,
        library: Library,
        config: DecoderConfig,
        arrays: Arrays,
        cache: CacheForm | None = None,
    ) -> None:
        if config.activation not in ACTIVATIONS:
            raise UnsupportedCheckpoint(
                f"the native step does not support the activation {config.activation}: choose one "
                f"of {', '.join(ACTIVATIONS)}"
            )
        bind_generation(library)
        self.library, self.config = library, config
        self._arrays = arrays
        self._kept: list[Any] = []
        size = config.hidden_size
        self._key_values: list[NativeProduct] = []
        self._layers = (NativeLayer * config.layers)(
            *(self._describe_layer(f"decoder.layers.{i}.") for i in range(config.layers))
        )
        self._heads = self._take_product(
            "decoder.heads", config.codebooks * config.vocab_size, size
        )
        self.cache_form = cache or choose_cache_form(self._heads.form)
        self._decoder = NativeDecoder(
            config.layers,
            size,
            config.heads,
            config.ffn_size,
            ACTIVATIONS[config.activation],
            self.cache_form.number,
            self._layers,
            self._take_vector("decoder.norm.weight"),
            self._take_vector("decoder.norm.bias"),
        )
        tokens = config.codebooks * (config.vocab_size + 1)
        self._embeddings = take_matrix(arrays, "decoder.embeddings", (tokens, size))
        self._positions = build_sinusoidal_positions(1, size)
        self._generator = NativeGenerator(
            ctypes.pointer(self._decoder),
            self._heads.address,
            self._embeddings.ctypes.data,
            config.codebooks,
            config.vocab_size,
        )

    def move_weights(self) -> Iterator[str]:
        """Move what every step reads to huge pages, also while steps run; yield the name of each.

        The caller can then give back the memory of that weight, before the next one takes more.
        Without huge pages, or for a model that caches hold, nothing moves.
        """
        products = [
            p for p in self._kept if isinstance(p, NativeProduct) and p not in self._key_values
        ]
        size = sum(p.bytes for p in products)
        memory = reserve_huge_pages(size) if size >= LEAST_MOVED else None
        if memory is None:
            return
        at = 0
        for product in products:
            product.move(memory[at : at + product.bytes])
            at += product.bytes
            yield product.name

    def build_prompt_keys(self, states: Floats) -> PromptKeys:
        """Compute keys and values of an encoded prompt (tokens, hidden)."""
        heads, size = self.config.heads, self.config.head_dim
        pairs = [
            product(states).reshape(len(states), 2, heads, size).transpose(1, 2, 0, 3)
            for product in self._key_values
        ]
        both = self._convert_prompt(np.stack(pairs, axis=1))
        return PromptKeys(both[0], both[1])

    def embed(self, tokens: Codes) -> Floats:
        """Embed tokens (rows, codebooks, length) and sum over codebooks: (rows, length, hidden)."""
        books, size = self.config.codebooks, self.config.vocab_size + 1
        if tokens.min(initial=0) < 0 or tokens.max(initial=0) >= size:
            raise ValueError(f"tokens must be 0 to {size - 1}")
        x = np.zeros((len(tokens), tokens.shape[2], self.config.hidden_size), np.float32)
        for k in range(books):
            x += self._embeddings[tokens[:, k] + k * size]
        return x

    def build_positions(self, length: int) -> Floats:
        """Return position embeddings (at least `length`, hidden), kept for later windows."""
        if len(self._positions) < length:
            self._positions = build_sinusoidal_positions(length, self.config.hidden_size)
        return self._positions

    def run_columns(self, x: Floats, rows: Sequence[NativeRow], padding: Sequence[int]) -> Floats:
        """Run `x` (rows, length, hidden), with positions, through all layers and the final norm.

        `rows` describes the KV cache of each row; the first column goes to its `position`.
        """
        parts = []
        for start in range(0, x.shape[1], COLUMNS_AT_ONCE):
            chunk = np.array(x[:, start : start + COLUMNS_AT_ONCE], np.float32, order="C")
            columns = (NativeRow * (len(rows) * chunk.shape[1]))()
            for index, (row, left) in enumerate(zip(rows, padding, strict=True)):
                for offset in range(chunk.shape[1]):
                    column = columns[index * chunk.shape[1] + offset]
                    ctypes.pointer(column)[0] = row
                    column.position = row.position + start + offset
                    column.first = min(left, column.position)
            status = self.library.functions.native_step(
                self.library.pool,
                ctypes.byref(self._decoder),
                columns,
                len(columns),
                chunk.ctypes.data,
            )
            check_status(status, "a prefill")
            parts.append(chunk)
        return np.concatenate(parts, axis=1)

    def compute_logits(self, hidden: Floats) -> Floats:
        """Compute logits (rows, codebooks, vocab_size) of hidden states (rows, hidden)."""
        return self._heads(hidden).reshape(-1, self.config.codebooks, self.config.vocab_size)

    def step(self, jobs: Sequence[NativeJob]) -> None:
        """Run one step of each of `jobs`, windows of this model, in one native call.

        A failure leaves every job unchanged, so each may be stepped again.
        """
        pointers = (ctypes.POINTER(NativeJob) * len(jobs))(*(ctypes.pointer(job) for job in jobs))
        status = self.library.functions.native_generate(
            self.library.pool, ctypes.byref(self._generator), pointers, len(jobs)
        )
        check_status(status, "a decode step")

    def _describe_layer(self, prefix: str) -> NativeLayer:
        size, ffn = self.config.hidden_size, self.config.ffn_size
        native = NativeLayer()
        norms = {"self_norm": "self_attention_norm", "ffn_norm": "ffn_norm"}
        linears = {
            "qkv": ("self_attention.qkv", 3 * size, size),
            "self_out": ("self_attention.out", size, size),
            "up": ("up", ffn, size),
            "down": ("down", size, ffn),
        }
        if self.config.cross_attention:
            norms["cross_norm"] = "cross_attention_norm"
            linears["cross_query"] = ("cross_attention.query", size, size)
            linears["cross_out"] = ("cross_attention.out", size, size)
            self._key_values.append(
                self._take_product(f"{prefix}cross_attention.key_value", 2 * size, size)
            )
        for field, name in norms.items():
            setattr(native, f"{field}_weight", self._take_vector(f"{prefix}{name}.weight"))
            setattr(native, f"{field}_bias", self._take_vector(f"{prefix}{name}.bias"))
        for field, (name, outputs, inputs) in linears.items():
            setattr(native, field, self._take_product(prefix + name, outputs, inputs).address)
        return native

    def _take_product(self, name: str, outputs: int, inputs: int) -> NativeProduct:
        product = NativeProduct(self.library, self._arrays, name, outputs, inputs)
        self._kept.append(product)
        return product

    def _take_vector(self, name: str) -> int:
        """Return the address of a vector of the hidden size, kept for the model's lifetime."""
        vector = take_vector(self._arrays, name, self.config.hidden_size)
        self._kept.append(vector)
        return vector.ctypes.data

    def _convert_prompt(self, values: Floats) -> NDArray[Any]:
        contiguous = np.ascontiguousarray(values)
        is_float32 = self.cache_form.prompt_dtype == np.float32
        return contiguous if is_float32 else round_to_bfloat16(contiguous)


def round_to_bfloat16(values: Floats) -> NDArray[np.uint16]:
    """Return the bits of the nearest bfloat16 numbers, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    is_nan = (bits & 0x7FFFFFFF) > 0x7F800000
    return np.where(is_nan, (bits >> 16) | 0x40, rounded).astype(np.uint16)
