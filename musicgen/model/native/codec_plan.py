"""Plan of EnCodec's layers as products of the native library. Imports no torch.

It gives each product the names of its weights in `MusicGen.state_dict()`, its shape as a
convolution over rows, and its padding. `musicgen.model.encodec` is the definition.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from musicgen.errors import UnsupportedCheckpoint
from musicgen.model.config import CodecConfig

WIDTH, UNITS = 32, 16
"""Outputs per block of a product; LSTM units per group of gates."""
CONVOLUTION, TRANSPOSED, RESIDUAL, RECURRENT = range(4)
PADDINGS = {"reflect": 0, "constant": 1, "replicate": 2}


@dataclass(frozen=True)
class Product:
    """A product and its weights; struct `NativeConv` documents the fields."""

    weight: str
    bias: str
    arrangement: Literal["conv", "transposed", "gates"]
    outputs: int
    inputs: int
    taps: int
    dilation: int = 1
    stride: int = 1
    fold: int = 1
    left: int = 0
    right: int = 0

    @property
    def blocks(self) -> int:
        """Blocks of outputs."""
        return -(-self.outputs // WIDTH)

    @property
    def scales(self) -> str:
        """Name of the scales of an int16 weight."""
        folder, _, name = self.weight.rpartition(".")
        return f"{folder}.{name.replace('weight', 'scales')}"


@dataclass(frozen=True)
class LayerPlan:
    """A layer; struct `NativeCodecLayer` documents the fields."""

    kind: int
    has_elu: bool
    products: tuple[Product, ...]


def plan_decoder(config: CodecConfig) -> list[LayerPlan]:
    """Return the decoder's layers. Raises: `UnsupportedCheckpoint`."""
    _check_padding(config)
    planner = _Planner(config, "codec.decoder")
    width = config.filters * 2 ** len(config.ratios)
    layers = [planner.convolution(config.hidden_size, width, config.kernel_size)]
    layers.append(planner.recurrent(width))
    for ratio in config.ratios:
        layers.append(planner.transposed(width, ratio))
        width //= 2
        layers += planner.residual_blocks(width)
    last = planner.convolution(width, config.channels, config.last_kernel_size, has_elu=True)
    return [*layers, last]


def plan_encoder(config: CodecConfig) -> list[LayerPlan]:
    """Return the encoder's layers. Raises: `UnsupportedCheckpoint`."""
    _check_padding(config)
    planner = _Planner(config, "codec.encoder")
    width = config.filters
    layers = [planner.convolution(config.channels, width, config.kernel_size)]
    for ratio in reversed(config.ratios):
        layers += planner.residual_blocks(width)
        layers.append(planner.convolution(width, 2 * width, 2 * ratio, stride=ratio, has_elu=True))
        width *= 2
    layers.append(planner.recurrent(width))
    last = planner.convolution(width, config.hidden_size, config.last_kernel_size, has_elu=True)
    return [*layers, last]


class _Planner:
    """Counts the modules of an `nn.Sequential`; an ELU is a module of its own there."""

    def __init__(self, config: CodecConfig, prefix: str) -> None:
        self._config = config
        self._prefix = prefix
        self._modules = 0

    def convolution(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, has_elu: bool = False
    ) -> LayerPlan:
        name = f"{self._next(has_elu)}.conv"
        product = _plan_conv(self._config, name, inputs, outputs, kernel, stride=stride)
        return LayerPlan(CONVOLUTION, has_elu, (product,))

    def transposed(self, inputs: int, ratio: int) -> LayerPlan:
        config, name = self._config, f"{self._next(has_elu=True)}.conv"
        right = math.ceil(ratio * config.trim_right_ratio) if config.causal else ratio // 2
        product = Product(
            f"{name}.weight",
            f"{name}.bias",
            "transposed",
            ratio * (inputs // 2),
            inputs,
            taps=2,
            fold=ratio,
            left=ratio - right,
            right=right,
        )
        return LayerPlan(TRANSPOSED, True, (product,))

    def residual_blocks(self, width: int) -> Iterator[LayerPlan]:
        config, hidden = self._config, width // self._config.compress
        kernel = config.residual_kernel_size
        for level in range(config.residual_layers):
            name, dilation = self._next(has_elu=False), config.dilation_growth**level
            narrow = f"{name}.narrow.conv"
            products = [
                _plan_conv(config, narrow, width, hidden, kernel, dilation=dilation),
                _plan_conv(config, f"{name}.widen.conv", hidden, width, 1),
            ]
            if config.conv_shortcut:
                products.append(_plan_conv(config, f"{name}.shortcut.conv", width, width, 1))
            yield LayerPlan(RESIDUAL, True, tuple(products))

    def recurrent(self, width: int) -> LayerPlan:
        name = self._next(has_elu=False)
        gates = 4 * UNITS * -(-width // UNITS)
        products = [
            Product(
                f"{name}.lstm.weight_{part}_l{layer}",
                f"{name}.lstm.bias_{part}_l{layer}",
                "gates",
                gates,
                width,
                taps=1,
            )
            for layer in range(self._config.lstm_layers)
            for part in ("ih", "hh")
        ]
        return LayerPlan(RECURRENT, False, tuple(products))

    def _next(self, has_elu: bool) -> str:
        index = self._modules + has_elu
        self._modules = index + 1
        return f"{self._prefix}.{index}"


def _plan_conv(
    config: CodecConfig,
    name: str,
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    dilation: int = 1,
) -> Product:
    # Neighbouring frames of a convolution with few outputs fill a block together.
    is_dense = kernel > 1 and stride == 1 and dilation == 1
    fold = max(1, WIDTH // outputs) if is_dense else 1
    padding = (kernel - 1) * dilation + 1 - stride
    right = 0 if config.causal else padding // 2
    return Product(
        f"{name}.weight",
        f"{name}.bias",
        "conv",
        fold * outputs,
        inputs,
        kernel + fold - 1,
        dilation,
        stride * fold,
        fold,
        padding - right,
        right,
    )


def _check_padding(config: CodecConfig) -> None:
    if config.pad_mode not in PADDINGS:
        raise UnsupportedCheckpoint(
            f"The native codec pads by {', '.join(PADDINGS)} (was {config.pad_mode!r})."
        )
