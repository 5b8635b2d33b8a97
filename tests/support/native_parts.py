"""Random decoders and text encoders for the native library, without torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicgen.model.config import DecoderConfig, TextEncoderConfig
from musicgen.model.native.forms import FLOAT16, FLOAT32, INT8, pack_weight
from musicgen.model.native.generation import NativeDecoderModel
from musicgen.model.native.window_state import NativeConditioning, NativeDecodeState

Array = NDArray[Any]
UNKNOWN = -1


@dataclass(frozen=True)
class Sampling:
    """Sampling parameters of one clip."""

    temperature: float
    top_k: int
    top_p: float
    guidance: float


class Weights:
    """Random weights by the names of a packed file; `place` puts them where they are read."""

    def __init__(self, random: np.random.Generator, place: Callable[[Array], Array]) -> None:
        self._random, self._place = random, place
        self.arrays: dict[str, Array] = {}

    def add(self, name: str, *shape: int) -> None:
        numbers = self._random.normal(size=shape).astype(np.float32)
        self.arrays[name] = self._place(numbers)

    def add_product(self, name: str, outputs: int, inputs: int, form: int) -> None:
        weight = self._random.normal(size=(outputs, inputs)) / inputs**0.5
        for part, array in pack_weight(weight.astype(np.float32), form)._asdict().items():
            if array is not None:
                self.arrays[f"{name}.{part}"] = self._place(array)

    def add_norm(self, name: str, size: int) -> None:
        self.add(f"{name}.weight", size)
        self.add(f"{name}.bias", size)


def pick_decoder(random: np.random.Generator) -> DecoderConfig:
    heads, channels = int(random.integers(1, 5)), int(random.integers(1, 3))
    vocabulary = int(random.integers(1, 40))
    return DecoderConfig(
        vocab_size=vocabulary,
        hidden_size=heads * int(random.choice([4, 6, 18, 64])),
        heads=heads,
        ffn_size=int(random.integers(1, 90)),
        layers=int(random.integers(1, 3)),
        codebooks=channels * int(random.integers(1, 5)),
        channels=channels,
        activation=str(random.choice(["gelu", "relu"])),
        start_token=vocabulary,
        cross_attention=bool(random.integers(2)),
    )


def make_decoder(config: DecoderConfig, weights: Weights, form: int) -> dict[str, Array]:
    """Return a decoder's weights in one form."""
    size, ffn = config.hidden_size, config.ffn_size
    for index in range(config.layers):
        prefix = f"decoder.layers.{index}."
        products = {"self_attention.qkv": (3 * size, size), "self_attention.out": (size, size)}
        products |= {"up": (ffn, size), "down": (size, ffn)}
        norms = ["self_attention_norm", "ffn_norm"]
        if config.cross_attention:
            products |= {f"cross_attention.{name}": (size, size) for name in ("query", "out")}
            products["cross_attention.key_value"] = (2 * size, size)
            norms.append("cross_attention_norm")
        for name, shape in products.items():
            weights.add_product(prefix + name, *shape, form)
        for name in norms:
            weights.add_norm(prefix + name, size)
    weights.add_norm("decoder.norm", size)
    weights.add_product("decoder.heads", config.codebooks * config.vocab_size, size, form)
    weights.add("decoder.embeddings", config.codebooks * (config.vocab_size + 1), size)
    return weights.arrays


def make_state(model: NativeDecoderModel, random: np.random.Generator) -> NativeDecodeState:
    """Return the state of a random window before its prefill."""
    config, clips = model.config, int(random.integers(1, 4))
    guided = tuple(np.flatnonzero(random.integers(2, size=clips)).tolist())
    rows, frames = clips + len(guided), int(random.integers(1, 12))
    delay = (config.codebooks - 1) // config.channels
    first = int(random.integers(1, frames + 1))
    sequence = np.full((clips, config.codebooks, frames + delay + 1), config.start_token)
    for book in range(config.codebooks):
        start = 1 + book // config.channels
        sequence[:, book, start : start + frames] = UNKNOWN
        known = (clips, max(first - start, 0))
        sequence[:, book, start:first] = random.integers(config.vocab_size, size=known)
    prompts: list[Any] = [None] * rows
    prefix = padding = None
    if config.cross_attention:
        for row in np.flatnonzero(random.integers(2, size=rows)):
            states = random.normal(size=(int(random.integers(1, 9)), config.hidden_size))
            prompts[row] = model.build_prompt_keys(states.astype(np.float32))
    else:
        length = int(random.integers(1, 20))
        prefix = random.normal(size=(rows, length, config.hidden_size)).astype(np.float32)
        padding = tuple(random.integers(length, size=rows).tolist())
    draws = random.random((clips, sequence.shape[2] - first, config.codebooks))
    sampling = [_pick_sampling(random) for _ in range(clips)]
    conditioning = NativeConditioning(clips, guided, tuple(prompts), prefix, padding)
    return NativeDecodeState(model, sampling, conditioning, sequence, first, draws)


def _pick_sampling(random: np.random.Generator) -> Sampling:
    temperature, top_p = random.choice([0.0, 0.5, 1.0]), random.choice([0.0, 0.5, 1.0])
    top_k = int(random.integers(50))
    return Sampling(float(temperature), top_k, float(top_p), float(random.choice([1.5, 3.0])))


def pick_text_encoder(random: np.random.Generator) -> TextEncoderConfig:
    return TextEncoderConfig(
        vocab_size=int(random.integers(1, 50)),
        hidden_size=int(random.integers(2, 70)),
        head_dim=int(random.choice([1, 3, 8, 17, 64])),
        heads=int(random.integers(1, 6)),
        ffn_size=int(random.integers(1, 90)),
        layers=int(random.integers(1, 3)),
        bias_buckets=int(random.choice([4, 8, 32])),
        bias_max_distance=int(random.integers(9, 128)),
        norm_eps=1e-6,
        activation=str(random.choice(["relu", "gelu", "gelu_new", "silu"])),
        gated=bool(random.integers(2)),
    )


def make_text_encoder(config: TextEncoderConfig, weights: Weights) -> dict[str, Array]:
    """Return a text encoder's weights, each in a form of its own."""
    size, inner, ffn = config.hidden_size, config.heads * config.head_dim, config.ffn_size
    forms = [FLOAT32, FLOAT16, INT8]
    for index in range(config.layers):
        prefix = f"text_encoder.blocks.{index}."
        products = {"attention.qkv": (3 * inner, size), "attention.out": (size, inner)}
        products |= {"ffn.up": (ffn, size), "ffn.down": (size, ffn)}
        if config.gated:
            products["ffn.gate"] = (ffn, size)
        for place, (name, shape) in enumerate(products.items()):
            weights.add_product(prefix + name, *shape, forms[(index + place) % len(forms)])
        for name in ("attention_norm", "ffn_norm"):
            weights.add(f"{prefix}{name}.weight", size)
    weights.add("text_encoder.norm.weight", size)
    weights.add("text_encoder.embedding.weight", config.vocab_size, size)
    weights.add("text_encoder.position_bias.weight", config.bias_buckets, config.heads)
    return weights.arrays
