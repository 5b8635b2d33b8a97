"""On a GPU in float32: transformers' tokens at full size, and the Triton kernels' results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.full_size import build_full_size
from bench.precision import Case, build_sequence
from bench.slot_logits import compute_slot_logits
from musicgen.engine.pytorch.cuda.fused import FusedLayers
from musicgen.engine.pytorch.cuda.graphs import SlotRunner
from musicgen.engine.pytorch.cuda.kernels import twins
from musicgen.engine.pytorch.cuda.kernels.choice import FP8_CAPABILITY, TWINS
from musicgen.engine.pytorch.cuda.kernels.options import KernelOptions
from musicgen.engine.pytorch.cuda.kernels.tiles import CANDIDATES, Tile
from musicgen.engine.pytorch.cuda.kernels.weights import build_product
from musicgen.engine.pytorch.cuda.slots import RowSlots
from musicgen.engine.pytorch.loading import build_engine, load_checkpoint
from musicgen.model.config import MusicGenConfig
from tests.support import engines, oracle

pytestmark = pytest.mark.gpu
DEVICE = "cuda:0"


def test_full_size_tokens_are_transformers_on_the_same_gpu(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Greedy, guided, and through captured graphs without a fallback."""
    folder = tmp_path / "musicgen-small"
    build_full_size("musicgen-small", folder, device=DEVICE)
    engine = load_checkpoint(folder, MusicGenConfig.from_folder(folder), DEVICE, "float32")
    found = engines.codes(engine, [engines.PROMPTS[0]], 60, engines.greedy())
    runner = engines.backend_of(engine).runner
    assert isinstance(runner, SlotRunner)
    assert len(runner.graphs), "nothing was captured"
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    model, tokenizer = oracle.load(folder).to(DEVICE), oracle.load_tokenizer(folder)
    wanted = oracle.greedy_tokens(model, tokenizer, [engines.PROMPTS[0]], 60, 3.0)
    assert torch.equal(found, wanted.cpu())
    assert wanted.unique().numel() > 20


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_triton_attention_is_its_twin(dtype: torch.dtype) -> None:
    attention = pytest.importorskip("musicgen.engine.pytorch.cuda.kernels.attention")
    query = torch.randn(4, 8, 64, device=DEVICE, dtype=dtype)
    keys, values = torch.randn(2, 4, 8, 512, 64, device=DEVICE, dtype=dtype)
    first = torch.tensor([0, 3, 0, 100], device=DEVICE)
    end = torch.tensor([1, 512, 65, 300], device=DEVICE)
    _assert_close(attention.attend_live, twins.attend_live, query, keys, values, first, end)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_triton_attention_stores_the_new_column(dtype: torch.dtype) -> None:
    """Few heads over a long cache, so that splits are combined."""
    attention = pytest.importorskip("musicgen.engine.pytorch.cuda.kernels.attention")
    joined = torch.randn(2, 3 * 4 * 64, device=DEVICE, dtype=dtype)
    cache = torch.randn(2, 2, 4, 1504, 64, device=DEVICE, dtype=dtype)
    first, end = torch.tensor([0, 3], device=DEVICE), torch.tensor([1, 1400], device=DEVICE)
    copies = cache.clone()
    _assert_close(
        lambda: attention.append_attend(joined, *cache, first, end),
        lambda: twins.append_attend(joined, *copies, first, end),
    )
    assert torch.equal(cache, copies)


@pytest.mark.parametrize("rows", [2, 48], ids=["splits", "whole"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_triton_attention_over_an_int8_cache_is_its_twin(dtype: torch.dtype, rows: int) -> None:
    """Also the stored numbers, and a key that is not finite: it must break its head alone."""
    attention = pytest.importorskip("musicgen.engine.pytorch.cuda.kernels.attention")
    kind = {"device": DEVICE, "dtype": dtype}
    numbers, factors = twins.quantize_vectors(torch.randn(2, rows, 16, 1504, 64, **kind))
    joined = torch.randn(rows, 3 * 16 * 64, **kind)
    joined[0, 16 * 64 + 5] = float("-inf")
    first, end = torch.zeros(2, rows, device=DEVICE, dtype=torch.int64)
    first[1], end[:], end[1] = 3, 1504, 1400
    copies, kept = numbers.clone(), factors.clone()
    found = attention.append_attend(joined, *numbers, first, end, tuple(factors))
    wanted = twins.append_attend(joined, *copies, first, end, tuple(kept))
    assert found[0, 0].isnan().all(), "an infinite key is lost"
    tolerance = 2e-2 if dtype == torch.bfloat16 else 1e-4
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance, equal_nan=True)
    assert torch.equal(numbers, copies)
    torch.testing.assert_close(factors, kept, rtol=0, atol=0, equal_nan=True)


def test_steps_with_an_int8_cache_are_those_of_its_twins(
    checkpoints: Callable[[str], Path],
) -> None:
    """Captured, and with tokens that are known beforehand: rounding may turn one that is not."""
    folder = checkpoints("musicgen-small")
    config = MusicGenConfig.from_folder(folder)
    options = KernelOptions(kv_cache="int8")
    engine = load_checkpoint(folder, config, DEVICE, "float32", kernels=options)
    model, tokenize = engines.model_of(engine), engines.backend_of(engine).tokenize
    slots = engines.backend_of(engine).runner.slots
    assert slots is not None
    assert slots.cache.factors is not None, "the int8 cache does not run here"
    fused = FusedLayers(model.decoder, replace(TWINS, kv_cache="int8"))
    twin_slots = RowSlots(model.decoder, 2, slots.capacity, slots.tokens, fused=fused)
    runner = SlotRunner(twin_slots, capture=False)
    plain = build_engine(model, tokenize, "float32", rows=2, runner=runner)
    codes = torch.randint(config.decoder.vocab_size, (config.decoder.codebooks, 90))
    case = Case(tokenize("piano"), build_sequence(model, codes))
    found, wanted = (compute_slot_logits(e, case) for e in (engine, plain))
    assert float((found - wanted).norm() / wanted.norm()) < 1e-2


@pytest.mark.parametrize("tile", [None, *CANDIDATES])
@pytest.mark.parametrize("form", ["", "int8", "fp8"])
@torch.inference_mode()
def test_triton_products_are_their_twins(form: str, tile: Tile | None) -> None:
    products = pytest.importorskip("musicgen.engine.pytorch.cuda.kernels.products")
    if form == "fp8" and torch.cuda.get_device_capability() < FP8_CAPABILITY:
        pytest.skip("fp8 needs compute capability 8.9")
    kind = {"device": DEVICE, "dtype": torch.bfloat16}
    norm = torch.nn.LayerNorm(1000, **kind)
    norm.weight.normal_(1, 0.3)
    norm.bias.normal_()
    weight = torch.randn(3000, 1000, **kind) / 32
    normed = build_product(weight.clone(), form=form, norm=norm, activation="gelu")
    plain = build_product(weight.clone(), form=form)
    for rows in (1, 2, 3, 16):
        x, added = torch.randn(rows, 1000, **kind), torch.randn(rows, 3000, **kind)
        found = products.multiply(x, normed, tile=tile)
        torch.testing.assert_close(found, twins.multiply(x, normed), rtol=5e-2, atol=5e-2)
        found = products.multiply(x, plain, added, tile=tile)
        torch.testing.assert_close(found, twins.multiply(x, plain, added), rtol=5e-2, atol=5e-2)


def _assert_close(
    kernel: Callable[..., torch.Tensor], twin: Callable[..., torch.Tensor], *given: torch.Tensor
) -> None:
    found, wanted = kernel(*given), twin(*given)
    tolerance = 2e-2 if found.dtype == torch.bfloat16 else 1e-4
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)
