"""Kernels of a decode step: Triton's where they run and agree with their twins."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from musicgen.engine.pytorch.cuda.kernels import twins
from musicgen.engine.pytorch.cuda.kernels.options import INT8, KernelOptions
from musicgen.engine.pytorch.cuda.kernels.twins import ColumnState, KeysValues, quantize_vectors
from musicgen.engine.pytorch.cuda.kernels.weights import (
    FUSED_ACTIVATIONS,
    StepProduct,
    build_product,
)
from musicgen.engine.pytorch.sampling import SamplingTensors
from musicgen.model.config import DecoderConfig
from musicgen.model.delay_pattern import UNKNOWN
from musicgen.request import SamplingParams

Attend = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
Append = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, "KeysValues | None"], Tensor]
Multiply = Callable[[Tensor, StepProduct, "Tensor | None"], Tensor]
Sample = Callable[[Tensor, Tensor, Tensor, SamplingTensors, Tensor], tuple[Tensor, Tensor]]
Place = Callable[[ColumnState, Tensor, Tensor, int], tuple[Tensor, Tensor, Tensor]]
TOLERANCE = 0.05
"""Largest relative error of attention and products in the check: a wrong kernel is far from it."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepKernels:
    """Kernels of a step, with the arguments and results of `twins`.

    `multiply` takes at most `most_rows` rows; without it all rows take PyTorch's operators.
    `kv_cache`: form of the cache that `append_attend` was checked with, "" or "int8".
    """

    attend: Attend
    append_attend: Append
    sample: Sample
    place_column: Place
    multiply: Multiply | None
    most_rows: int = 16
    kv_cache: str = ""


TWINS = StepKernels(
    twins.attend_live,
    twins.append_attend,
    twins.sample_guided,
    twins.place_column,
    twins.multiply,
)
OVERLAP_CAPABILITY, FP8_CAPABILITY = (9, 0), (8, 9)
"""Compute capabilities from which a GPU has them."""


def load_kernels(
    device: torch.device, config: DecoderConfig, dtype: torch.dtype, options: KernelOptions
) -> StepKernels | None:
    """Return Triton's kernels after a run of each on `device`, which also compiles it.

    None if they do not run there or give other results: steps then use PyTorch's operators. Where
    the products or the int8 cache alone fail, the others stay.
    """
    # Triton launches on the thread's current GPU.
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        try:
            kernels = _import_kernels(device, options)
            check_kernels(kernels, device, config, dtype)
        except Exception as error:  # Triton's compiler has many; no request may fail for one
            logger.warning(
                "The Triton kernels do not run on %s; steps use PyTorch's operators: %s: %s",
                *(device, type(error).__name__, error),
            )
            return None
        if options.kv_cache == INT8:
            kernels = _try_quantized_cache(kernels, device, config, dtype)
        try:
            check_products(kernels, device, config, dtype, options.weights)
        except Exception as error:
            logger.warning(
                "Triton's products do not run on %s; steps use cuBLAS, weights unchanged: %s: %s",
                *(device, type(error).__name__, error),
            )
            return replace(kernels, multiply=None)
    logger.info(
        "steps use Triton kernels, weights: %s, KV cache: %s",
        *(options.weights or dtype, kernels.kv_cache or dtype),
    )
    return kernels


def _try_quantized_cache(
    kernels: StepKernels, device: torch.device, config: DecoderConfig, dtype: torch.dtype
) -> StepKernels:
    """Return the kernels for an int8 cache, or unchanged if their attention fails over one."""
    try:
        check_quantized_cache(kernels, device, config, dtype)
    except Exception as error:
        logger.warning(
            "Triton's attention over an int8 KV cache does not run on %s; the cache stays in %s: "
            "%s: %s",
            *(device, dtype, type(error).__name__, error),
        )
        return kernels
    return replace(kernels, kv_cache=INT8)


def _import_kernels(device: torch.device, options: KernelOptions) -> StepKernels:
    """Import the kernels. Raises: `ValueError` if the device cannot overlap them."""
    from musicgen.engine.pytorch.cuda.kernels.attention import append_attend, attend_live
    from musicgen.engine.pytorch.cuda.kernels.columns import place_column
    from musicgen.engine.pytorch.cuda.kernels.products import MAX_ROWS, multiply
    from musicgen.engine.pytorch.cuda.kernels.sampling import sample_guided

    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if options.overlap and capability < OVERLAP_CAPABILITY:
            raise ValueError(f"overlap needs compute capability 9.0; this GPU has {capability}")
    kernels = StepKernels(
        attend_live, append_attend, sample_guided, place_column, multiply, MAX_ROWS
    )
    if not options.overlap:
        return kernels
    return replace(
        kernels,
        attend=partial(attend_live, early=True),
        append_attend=partial(append_attend, early=True),
        multiply=partial(multiply, early=True),
    )


@torch.inference_mode()
def check_kernels(
    kernels: StepKernels,
    device: torch.device,
    config: DecoderConfig,
    dtype: torch.dtype,
) -> None:
    """Compare all kernels but the products with their twins. Raises: `ValueError`."""
    draw = _NormalDraws(device, dtype)
    _check_attention(kernels, draw, config)
    _check_columns(kernels, draw, config)
    logits = draw(3, config.codebooks, config.vocab_size).float()
    params = [SamplingParams(1.0, 20, 0.0, 3.0), SamplingParams(0.7, 0), SamplingParams(0.0, 0)]
    rows = SamplingTensors.from_params(params, device)
    scale = torch.tensor([3.0, 1.0, 1.0], device=device)[:, None, None]
    other = torch.tensor([2, 1, 2], device=device)
    uniform = torch.rand(3, config.codebooks, generator=draw.generator, dtype=torch.float64)
    chosen = logits, other, scale, rows, uniform.to(device)
    for ours, theirs in zip(kernels.sample(*chosen), twins.sample_guided(*chosen), strict=True):
        if not torch.equal(ours, theirs):
            raise ValueError("sampling differs from PyTorch's")


class _NormalDraws:
    """Normal random numbers of one type, the same on every device."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self._device, self._dtype = device, dtype

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator).to(self._device, self._dtype)


def _compare(found: Tensor, wanted: Tensor, name: str) -> None:
    found, wanted = found.float(), wanted.float()
    # An error that is not a number is not below the tolerance either.
    if not float((found - wanted).norm() / wanted.norm()) <= TOLERANCE:
        raise ValueError(f"{name} differs from PyTorch's")


def _check_attention(kernels: StepKernels, draw: _NormalDraws, config: DecoderConfig) -> None:
    """Compare both forms of attention, over more columns than one program reads at once."""
    heads, dim = config.heads, config.head_dim
    keys, values = draw(2, heads, 600, dim), draw(2, heads, 600, dim)
    first, end = (torch.tensor(ends, device=keys.device) for ends in ([0, 3], [590, 4]))
    live = first, end
    query = draw(2, heads, dim)
    found, wanted = (
        attend(query, keys, values, *live) for attend in (kernels.attend, twins.attend_live)
    )
    _compare(found, wanted, "attention")
    joined, copies = draw(2, 3 * heads * dim), (keys.clone(), values.clone())
    found = kernels.append_attend(joined, keys, values, *live, None)
    _compare(found, twins.append_attend(joined, *copies, *live), "attention")
    if not (torch.equal(keys, copies[0]) and torch.equal(values, copies[1])):
        raise ValueError("the stored keys and values differ from PyTorch's")


@torch.inference_mode()
def check_quantized_cache(
    kernels: StepKernels, device: torch.device, config: DecoderConfig, dtype: torch.dtype
) -> None:
    """Compare attention over an int8 cache with its twin. Raises: `ValueError`."""
    draw, heads, dim = _NormalDraws(device, dtype), config.heads, config.head_dim
    shape, most = (3, heads, 600, dim), 2
    (keys, key_factors), (values, value_factors) = (
        quantize_vectors(draw(*shape)) for _ in range(2)
    )
    first, end = (torch.tensor(ends, device=device) for ends in ([0, 3, 5], [590, 4, 600]))
    joined = draw(3, 3 * heads * dim)
    # The first number of a key; the last row must not lose it.
    joined[most, heads * dim] = float("-inf")
    ours = keys, values, key_factors, value_factors
    theirs = tuple(part.clone() for part in ours)
    found, wanted = (
        append(joined, cache[0], cache[1], first, end, (cache[2], cache[3]))
        for append, cache in ((kernels.append_attend, ours), (twins.append_attend, theirs))
    )
    _compare(found[:most], wanted[:most], "attention over an int8 cache")
    if found[most, 0].isfinite().any() or not found[most, 1:].isfinite().all():
        raise ValueError("attention over an int8 cache loses an infinite key, or spreads it")
    if not all(torch.equal(o[:most], t[:most]) for o, t in zip(ours, theirs, strict=True)):
        raise ValueError("the stored int8 keys and values differ from PyTorch's")


def _check_columns(kernels: StepKernels, draw: _NormalDraws, config: DecoderConfig) -> None:
    """Compare the columns of a clip, of its unconditional row, and of an inactive row."""
    device, books = draw(1).device, config.codebooks
    words = books * (config.vocab_size + 1)
    embeddings, positions = draw(words, config.hidden_size), draw(8, config.hidden_size)

    def upload(*numbers: int) -> Tensor:
        return torch.tensor(numbers, device=device)

    states = [
        ColumnState(
            active=upload(1, 1, 0).bool(),
            source=upload(0, 0, 2),
            column=upload(3, 0, 7),
            length=upload(5, 5, 7),
            padding=upload(0, 2, 7),
            sequence=torch.full((3, books, 8), UNKNOWN, device=device),
            finite=upload(1, 1, 1).bool(),
            embeddings=embeddings,
            positions=positions,
        )
        for _ in range(2)
    ]
    tokens, finite = upload(*range(3 * books)).view(3, books), upload(*[1] * 3 * books).bool()
    finite = finite.view(3, books)
    finite[0, 0] = finite[2, 0] = False
    states[0].sequence[0, 0, 3] = states[1].sequence[0, 0, 3] = 1
    found, wanted = (
        place(state, tokens, finite, 8)
        for place, state in zip((kernels.place_column, twins.place_column), states, strict=True)
    )
    _compare(found[0], wanted[0], "embedding")
    pairs = [*zip(found[1:], wanted[1:], strict=True), (states[0].sequence, states[1].sequence)]
    if not all(torch.equal(*pair) for pair in (*pairs, (states[0].finite, states[1].finite))):
        raise ValueError("stored columns differ from PyTorch's")


@torch.inference_mode()
def check_products(
    kernels: StepKernels,
    device: torch.device,
    config: DecoderConfig,
    dtype: torch.dtype,
    weights: str,
) -> None:
    """Compare the product of a normed row with an activation, and the one with a sum.

    Raises: `ValueError`, also for `weights` that `device` cannot compute with.
    """
    if kernels.multiply is None:
        return
    if weights == "fp8" and device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability < FP8_CAPABILITY:
            raise ValueError(f"fp8 needs compute capability 8.9; this GPU has {capability}")
    draw, size, wide = _NormalDraws(device, dtype), config.hidden_size, config.ffn_size
    norm = nn.LayerNorm(size, dtype=dtype, device=device)
    norm.weight.copy_(1 + draw(size) / 4)
    norm.bias.copy_(draw(size))
    activation = FUSED_ACTIVATIONS.get(config.activation, "")
    up = build_product(draw(wide, size) / size**0.5, form=weights, norm=norm, activation=activation)
    down = build_product(draw(size, wide) / wide**0.5, form=weights)
    for rows in (2, kernels.most_rows):
        x = draw(rows, size)
        inner = kernels.multiply(x, up, None)
        _compare(inner, twins.multiply(x, up), "a product with LayerNorm")
        _compare(kernels.multiply(inner, down, x), twins.multiply(inner, down, x), "a product")
