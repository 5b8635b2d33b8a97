"""On a GPU in float32: transformers' tokens at full size, and the Triton kernels' results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.full_size import build_full_size
from musicgen.engine.pytorch.cuda.graphs import SlotRunner
from musicgen.engine.pytorch.cuda.kernels import twins
from musicgen.engine.pytorch.loading import load_checkpoint
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
    assert runner._graphs, "nothing was captured"
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
def test_triton_product_is_its_twin(dtype: torch.dtype) -> None:
    products = pytest.importorskip("musicgen.engine.pytorch.cuda.kernels.products")
    x, gain, bias = (
        torch.randn(size, device=DEVICE, dtype=dtype) for size in ((3, 1024), 1024, 1024)
    )
    weight = torch.randn(3072, 1024, device=DEVICE) / 32
    given = (x, gain, bias, *twins.quantize_rows(weight))
    _assert_close(products.normalize_multiply, twins.normalize_multiply, *given)


def _assert_close(
    kernel: Callable[..., torch.Tensor], twin: Callable[..., torch.Tensor], *given: torch.Tensor
) -> None:
    found, wanted = kernel(*given), twin(*given)
    tolerance = 2e-2 if found.dtype == torch.bfloat16 else 1e-4
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)
