"""Triton's kernels and their twins, in Triton's interpreter: no GPU is needed.

The interpreter is chosen when Triton is imported, so the checks run in a process of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from musicgen.engine.pytorch.cuda.kernels import twins
from musicgen.model.layers import attend, build_additive_mask
from tests.support import ROOT

CHECK = """
import torch
from musicgen.engine.pytorch.cuda.kernels import attention, products, twins
torch.manual_seed(0)
tolerances = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
for dtype, tolerance in tolerances.items():
    for rows, inputs, outputs in ((1, 64, 16), (2, 300, 37), (3, 512, 48)):
        x = (3 * torch.randn(rows, inputs) + 1).to(dtype)
        gain, bias = torch.randn(2, inputs).to(dtype)
        weight, scale = twins.quantize_rows(torch.randn(outputs, inputs) / inputs**0.5)
        given = (x, gain.contiguous(), bias.contiguous(), weight, scale)
        found, wanted = products.normalize_multiply(*given), twins.normalize_multiply(*given)
        torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)
    for dim in (16, 24):
        query = torch.randn(3, 2, dim).to(dtype)
        cache = torch.randn(2, 4, 2, 200, dim).to(dtype)
        # What lies beyond the live part may be anything.
        cache[:, :, :, 190:] = float("nan")
        keys, values = cache[0, :3], cache[1, :3]
        first, end = torch.tensor([0, 5, 63]), torch.tensor([1, 190, 129])
        found = attention.attend_live(query, keys, values, first, end)
        wanted = twins.attend_live(query, keys, values.nan_to_num(), first, end)
        torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)
print("equal")
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="needs the package triton")
def test_kernels_compute_what_their_twins_do() -> None:
    """Odd sizes, both types, and a cache with NaN beyond the live part."""
    environment = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", CHECK]
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


def test_the_product_s_twin_is_near_the_exact_one() -> None:
    x, weight = torch.randn(2, 256), torch.randn(64, 256) / 16
    gain, bias = torch.ones(256), torch.zeros(256)
    found = twins.normalize_multiply(x, gain, bias, *twins.quantize_rows(weight))
    wanted = torch.nn.functional.layer_norm(x, (256,)) @ weight.t()
    assert float((found - wanted).norm() / wanted.norm()) < 0.01
