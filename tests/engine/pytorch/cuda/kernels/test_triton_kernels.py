"""Triton's kernels and their twins, in Triton's interpreter: no GPU is needed.

The interpreter is chosen when Triton is imported, so the checks run in a process of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from musicgen.engine.pytorch.cuda.fused import multiply_many
from musicgen.engine.pytorch.cuda.kernels import twins
from musicgen.engine.pytorch.cuda.kernels.weights import build_product
from musicgen.model.layers import attend, build_additive_mask
from tests.support import ROOT

MODULE = "tests.engine.pytorch.cuda.kernels"


@pytest.mark.skipif(find_spec("triton") is None, reason="needs the package triton")
def test_kernels_compile_for_gpus(tmp_path: Path) -> None:
    """Machine code for Turing, Ampere and Hopper, made without one; the interpreter makes none."""
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-m", f"{MODULE}.compile_checks"]
    run = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert run.stdout.strip() == "compiled", run.stderr[-2000:]


@pytest.mark.skipif(find_spec("triton") is None, reason="needs the package triton")
def test_kernels_compute_what_their_twins_do(checkpoints: Callable[[str], Path]) -> None:
    """Odd sizes, both types, a cache with NaN beyond the live part, ties, and a whole job."""
    environment = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", f"{MODULE}.interpreter_checks"]
    command.append(str(checkpoints("musicgen-small")))
    run = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert run.stdout.strip() == "equal", run.stderr[-2000:]


def test_the_attention_s_twin_is_the_engine_s_attention() -> None:
    query, keys, values = torch.randn(2, 3, 8), torch.randn(2, 3, 10, 8), torch.randn(2, 3, 10, 8)
    first, end = torch.tensor([0, 4]), torch.tensor([7, 10])
    columns = torch.arange(10)
    allowed = (columns >= first[:, None]) & (columns < end[:, None])
    mask = build_additive_mask(allowed[:, None, None], torch.float32)
    wanted = attend(query[:, :, None], keys, values, mask)[:, :, 0]
    torch.testing.assert_close(twins.attend_live(query, keys, values, first, end), wanted)


@torch.inference_mode()
@pytest.mark.parametrize(("form", "error"), [("", 1e-6), ("int8", 0.01), ("fp8", 0.04)])
def test_the_product_s_twin_is_near_the_exact_one(form: str, error: float) -> None:
    """Prefills and large batches multiply by the same rounded weights."""
    x, weight = torch.randn(2, 256), torch.randn(64, 256) / 16
    norm = nn.LayerNorm(256)
    norm.weight.copy_(torch.rand(256))
    norm.bias.copy_(torch.randn(256))
    wanted = F.gelu(norm(x) @ weight.t())
    product = build_product(weight, form=form, norm=norm, activation="gelu")
    found = twins.multiply(x, product)
    assert float((found - wanted).norm() / wanted.norm()) < error
    torch.testing.assert_close(multiply_many(x, product), found)
    added = torch.randn(2, 64)
    plain = build_product(weight, form=form)
    found = twins.multiply(x, plain, added)
    torch.testing.assert_close(multiply_many(x, plain, added), found)


@torch.inference_mode()
def test_sums_and_offsets_of_a_norm_replace_it() -> None:
    """The kernel's arithmetic: the norm is applied after the product."""
    x, weight, norm = torch.randn(2, 256) + 1, torch.randn(64, 256) / 16, nn.LayerNorm(256)
    norm.weight.copy_(torch.rand(256))
    norm.bias.copy_(torch.randn(256))
    product = build_product(weight, norm=norm)
    assert product.sums is not None
    assert product.offsets is not None
    mean, inverse = x.mean(1, keepdim=True), torch.rsqrt(x.var(1, correction=0) + norm.eps)
    raw = (x * norm.weight) @ weight.t() - mean * product.sums
    found = inverse[:, None] * raw + product.offsets
    torch.testing.assert_close(found, norm(x) @ weight.t(), rtol=1e-4, atol=1e-4)
