"""Random codecs for the native library, without torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicgen.model.config import CodecConfig
from musicgen.model.native.codec_forms import CODEBOOKS
from musicgen.model.native.codec_plan import Product, plan_decoder, plan_encoder


def pick_config(random: np.random.Generator) -> CodecConfig:
    """Return a codec of random odd sizes."""
    size = int(random.integers(1, 40))
    ratios = random.integers(1, 6, size=random.integers(1, 4))
    return CodecConfig(
        sample_rate=32000,
        channels=1,
        codebooks=int(random.integers(1, 5)),
        codebook_size=int(random.integers(1, 20)),
        codebook_dim=size,
        hidden_size=size,
        filters=int(random.integers(3, 10)),
        residual_layers=int(random.integers(3)),
        ratios=tuple(map(int, ratios)),
        kernel_size=int(random.integers(1, 10)),
        last_kernel_size=int(random.integers(1, 10)),
        residual_kernel_size=int(random.integers(1, 5)),
        dilation_growth=int(random.integers(1, 4)),
        compress=int(random.integers(1, 4)),
        lstm_layers=int(random.integers(1, 4)),
        causal=bool(random.integers(2)),
        conv_shortcut=bool(random.integers(2)),
        pad_mode=str(random.choice(["reflect", "constant", "replicate"])),
        trim_right_ratio=float(random.choice([0.0, 0.5, 1.0])),
    )


def make_weights(config: CodecConfig, random: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Return random weights by the names of the checkpoint."""
    shape = (config.codebooks, config.codebook_size, config.codebook_dim)
    weights = {CODEBOOKS: random.normal(size=shape).astype(np.float32)}
    for layer in (*plan_decoder(config), *plan_encoder(config)):
        for product in layer.products:
            weight, outputs = _shape_weight(product)
            size = np.prod(weight[1:]) ** -0.5
            weights[product.weight] = (random.normal(size=weight) * size).astype(np.float32)
            weights[product.bias] = (random.normal(size=outputs) * 0.1).astype(np.float32)
    return weights


def _shape_weight(product: Product) -> tuple[tuple[int, ...], int]:
    """Return the shape of a weight in the checkpoint, and the length of its bias."""
    if product.arrangement == "gates":
        return (4 * product.inputs, product.inputs), 4 * product.inputs
    outputs = product.outputs // product.fold
    if product.arrangement == "transposed":
        return (product.inputs, outputs, 2 * product.fold), outputs
    return (outputs, product.inputs, product.taps - product.fold + 1), outputs
