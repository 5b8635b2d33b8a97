"""Steps with kernels: the same tokens, one graph for all lengths, and PyTorch where they fail."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from musicgen.engine.interface import GenerationJob, Row
from musicgen.engine.pytorch.cuda.fused import FusedLayers
from musicgen.engine.pytorch.cuda.graphs import SlotRunner
from musicgen.engine.pytorch.cuda.kernels import choice, twins
from musicgen.engine.pytorch.cuda.kernels.choice import (
    TWINS,
    StepKernels,
    check_kernels,
    check_products,
    check_quantized_cache,
    load_kernels,
)
from musicgen.engine.pytorch.cuda.kernels.options import KernelOptions
from musicgen.engine.pytorch.cuda.kernels.weights import StepProduct
from musicgen.engine.pytorch.cuda.slots import RowSlots, StepShape
from musicgen.engine.pytorch.loading import build_engine
from musicgen.engine.pytorch.sampling import SamplerFeatures
from musicgen.model.config import MusicGenConfig
from musicgen.request import SamplingParams
from musicgen.settings import Settings
from tests.support import engines
from tests.support.checkpoints import FAMILIES

CPU = torch.device("cpu")
SAMPLINGS = [
    SamplingParams(1.0, 30, 0.0, 3.0),
    SamplingParams(0.0, 0, 0.0, 3.0),
    SamplingParams(1.0, 0, 0.8, 1.0),
]


WITHOUT_PRODUCTS = replace(TWINS, multiply=None)


@pytest.mark.parametrize("kernels", [TWINS, WITHOUT_PRODUCTS], ids=["all", "without products"])
@pytest.mark.parametrize("name", FAMILIES)
def test_steps_with_kernels_draw_the_tokens_of_steps_without(
    checkpoints: Callable[[str], Path], name: str, kernels: StepKernels
) -> None:
    """The kernels' twins stand in for them; top_p has no kernel, and nor have many rows."""
    known = engines.engine(checkpoints(name), compiled=False)
    model = engines.model_of(known)
    slots = RowSlots(model.decoder, 8, 320, 24, fused=FusedLayers(model.decoder, kernels))
    runner = SlotRunner(slots, capture=False)
    engine = build_engine(
        model, engines.backend_of(known).tokenize, "float32", rows=8, runner=runner
    )
    for params in SAMPLINGS:
        job = GenerationJob((Row("piano", 1, params), Row("bells and drums", 2, params)), 30)
        np.testing.assert_array_equal(engines.run(engine, job).codes, engines.run(known, job).codes)


def test_kernels_serve_all_lengths_with_one_shape(checkpoints: Callable[[str], Path]) -> None:
    decoder = engines.model(checkpoints("musicgen-small")).decoder
    lengths = [1, 256, 257, 500]
    with_kernels, without = (
        RowSlots(decoder, 2, 512, 16, fused=fused) for fused in (FusedLayers(decoder, TWINS), None)
    )
    assert {with_kernels.round_length(length, 256) for length in lengths} == {512}
    assert [without.round_length(length, 256) for length in lengths] == [256, 256, 512, 512]


def test_wrong_kernels_are_found(checkpoints: Callable[[str], Path]) -> None:
    """A kernel that runs on a new card with other results must not make music."""

    def attend(query: Tensor, keys: Tensor, values: Tensor, first: Tensor, end: Tensor) -> Tensor:
        return twins.attend_live(query, keys, values, first, end + 1)

    def sample(*given: Tensor) -> tuple[Tensor, Tensor]:
        tokens, finite = twins.sample_guided(*given)  # type: ignore[arg-type]
        return tokens.flip(0), finite

    def place(*given: Any) -> tuple[Tensor, Tensor, Tensor]:
        x, first, end = twins.place_column(*given)
        return x, first, end - 1

    def append(joined: Tensor, *given: Tensor) -> Tensor:
        return twins.append_attend(joined.roll(1, 1), *given)

    config = MusicGenConfig.from_folder(checkpoints("musicgen-small")).decoder
    check_kernels(TWINS, CPU, config, torch.float32)
    for wrong in (
        replace(TWINS, attend=attend),
        replace(TWINS, sample=sample),
        replace(TWINS, place_column=place),
        replace(TWINS, append_attend=append),
    ):
        with pytest.raises(ValueError, match=r"differs? from PyTorch's"):
            check_kernels(wrong, CPU, config, torch.float32)


def test_wrong_kernels_of_an_int8_cache_are_found(checkpoints: Callable[[str], Path]) -> None:
    def store_truncated(joined: Tensor, *given: Any) -> Tensor:
        result = twins.append_attend(joined, *given)
        rows, end = torch.arange(len(joined)), given[3]
        given[0][rows, :, end - 1] -= given[0][rows, :, end - 1].sign()
        return result

    def forget_factors(joined: Tensor, *given: Any) -> Tensor:
        result = twins.append_attend(joined, *given)
        ones = torch.ones_like(given[4][0])
        query = joined.view(len(joined), 3, *given[0].shape[1::2])[:, 0]
        wrong = twins.attend_live(query, *given[:4], (given[4][0], ones))
        return torch.where(result.isfinite(), wrong, result)

    def lose_infinities(joined: Tensor, *given: Any) -> Tensor:
        return twins.append_attend(joined, *given).nan_to_num()

    config = MusicGenConfig.from_folder(checkpoints("musicgen-small")).decoder
    check_quantized_cache(TWINS, CPU, config, torch.float32)
    for wrong in (store_truncated, forget_factors, lose_infinities):
        with pytest.raises(ValueError, match=r"int8"):
            kernels = replace(TWINS, append_attend=wrong)
            check_quantized_cache(kernels, CPU, config, torch.float32)


@pytest.mark.parametrize("weights", ["", "int8", "fp8"])
def test_wrong_products_are_found(checkpoints: Callable[[str], Path], weights: str) -> None:
    def multiply(x: Tensor, product: StepProduct, added: Tensor | None = None) -> Tensor:
        return twins.multiply(x, product, None)

    config = MusicGenConfig.from_folder(checkpoints("musicgen-small")).decoder
    check_products(TWINS, CPU, config, torch.float32, weights)
    with pytest.raises(ValueError, match="a product differs from PyTorch's"):
        check_products(replace(TWINS, multiply=multiply), CPU, config, torch.float32, weights)


class _CountOperators(TorchDispatchMode):
    """Counts operators that a GPU runs as kernels, and calls of the step's own kernels."""

    NO_KERNELS = ("view", "slice", "select", "unsqueeze", "expand", "transpose", "t", "detach")
    NO_KERNELS += ("split", "unbind", "empty", "flatten", "to", "alias", "chunk", "view_as")

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, function: Any, _types: Any, given: Any = (), named: Any = None
    ) -> Any:
        self.count += function.overloadpacket.__name__ not in self.NO_KERNELS
        return function(*given, **(named or {}))

    def wrap(self, kernel: Callable[..., Any]) -> Callable[..., Any]:
        """Count calls of `kernel` as one."""

        def call(*given: Any) -> Any:
            before = self.count
            result = kernel(*given)
            self.count = before + 1
            return result

        return call


@pytest.mark.parametrize("kv_cache", ["", "int8"])
def test_a_layer_takes_eight_kernels_and_the_rest_eight(
    checkpoints: Callable[[str], Path], kv_cache: str
) -> None:
    """Each costs a microsecond or two, as much as a tenth of a layer's reads.

    Attention that is split over its length takes one more.
    """
    decoder = engines.model(checkpoints("musicgen-small")).decoder
    counter = _CountOperators()
    names = ("attend", "append_attend", "sample", "place_column", "multiply")
    wrapped = {name: counter.wrap(getattr(TWINS, name)) for name in names}
    counted = replace(TWINS, **wrapped, kv_cache=kv_cache)
    slots = RowSlots(decoder, 2, 64, 16, fused=FusedLayers(decoder, counted))
    features = SamplerFeatures(random=True, largest_k=256, top_p=False)
    with torch.inference_mode(), counter:
        slots.step(StepShape(2, 64, 16, features))
    # Two clamps, the random numbers, sampling, the column, the heads, the logits, the counters.
    assert counter.count == 8 * decoder.config.layers + 8


def test_rounded_weights_are_those_of_prefills_too(checkpoints: Callable[[str], Path]) -> None:
    """A clip must not sound otherwise in a batch too large for the kernels."""
    decoder = copy.deepcopy(engines.model(checkpoints("musicgen-small")).decoder)
    before = decoder.layers[0].up.weight.clone()  # type: ignore[union-attr]
    fused = FusedLayers(decoder, TWINS, weights="int8")
    product = fused._layers[0].up
    assert product.scale is not None
    rounded = product.weight.float() * product.scale[:, None]
    assert torch.equal(decoder.layers[0].up.weight, rounded)  # type: ignore[union-attr]
    assert not torch.equal(before, rounded)
    assert torch.allclose(before, rounded, atol=float(product.scale.max()))


def test_without_triton_steps_use_pytorch(
    checkpoints: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line tells of it."""

    def fail(*_: object) -> None:
        raise RuntimeError("no compiler for this card")

    monkeypatch.setattr(choice, "_import_kernels", fail)
    config = MusicGenConfig.from_folder(checkpoints("musicgen-small")).decoder
    with caplog.at_level(logging.INFO):
        assert load_kernels(CPU, config, torch.float32, KernelOptions()) is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "PyTorch's operators" in caplog.text


def test_without_the_product_kernel_the_others_stay(
    checkpoints: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> Tensor:
        raise RuntimeError("fp8 is not supported on this card")

    monkeypatch.setattr(choice, "_import_kernels", lambda *_: replace(TWINS, multiply=fail))
    config = MusicGenConfig.from_folder(checkpoints("musicgen-small")).decoder
    kernels = load_kernels(CPU, config, torch.float32, KernelOptions("fp8"))
    assert kernels == WITHOUT_PRODUCTS
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "fp8 is not supported on this card" in caplog.text


def test_without_a_kernel_for_it_the_cache_is_not_rounded(
    checkpoints: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The other kernels stay, and one line tells of it."""

    def append(joined: Tensor, *given: Any) -> Tensor:
        if given[4] is not None:
            raise RuntimeError("no 8-bit loads on this card")
        return twins.append_attend(joined, *given)

    without = replace(TWINS, append_attend=append)
    monkeypatch.setattr(choice, "_import_kernels", lambda *_: without)
    decoder = engines.model(checkpoints("musicgen-small")).decoder
    options = KernelOptions(kv_cache="int8")
    kernels = load_kernels(CPU, decoder.config, torch.float32, options)
    assert kernels == without
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the cache stays in torch.float32" in caplog.text
    assert "no 8-bit loads on this card" in caplog.text
    slots = RowSlots(decoder, 2, 64, 16, fused=FusedLayers(decoder, kernels))
    assert slots.cache.keys.dtype == torch.float32
    monkeypatch.setattr(choice, "_import_kernels", lambda *_: TWINS)
    kernels = load_kernels(CPU, decoder.config, torch.float32, options)
    assert kernels == replace(TWINS, kv_cache="int8")


def test_kernels_are_off_unless_asked_for() -> None:
    """Nothing that no GPU ever ran is on by default."""
    settings = Settings.from_env({})
    assert not settings.kernels
    assert not settings.kernel_overlap
    assert settings.kernel_weights == settings.kv_cache == "own"
    assert Settings.from_env({"MUSICGEN_KERNELS": "1"}).kernels
