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

from musicgen.engine.pytorch.cuda.kernels import twins
from musicgen.model.layers import attend, build_additive_mask
from tests.support import ROOT

CHECK = """
import sys
from pathlib import Path
import torch
from musicgen.engine.interface import GenerationJob, Row
from musicgen.engine.pytorch.cuda.graphs import SlotRunner
from musicgen.engine.pytorch.cuda.kernels import attention, products, sampling, twins
from musicgen.engine.pytorch.cuda.kernels.choice import load_kernels
from musicgen.engine.pytorch.cuda.slots import RowSlots
from musicgen.engine.pytorch.loading import build_engine
from musicgen.engine.pytorch.sampling import SamplingTensors
from musicgen.model.config import MusicGenConfig
from musicgen.request import SamplingParams
from tests.support import engines
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
# The query is a part of one product, so its rows are apart.
wide = torch.randn(3, 1, 3 * 32).chunk(3, -1)[0].view(3, 1, 2, 16).transpose(1, 2)[:, :, 0]
keys, values = torch.randn(2, 3, 2, 64, 16)
first, end = torch.tensor([0, 5, 63]), torch.tensor([1, 60, 64])
found = attention.attend_live(wide, keys, values, first, end)
torch.testing.assert_close(found, twins.attend_live(wide, keys, values, first, end))
for vocabulary in (64, 300):
    logits = 3 * torch.randn(8, 4, vocabulary)
    logits[3, 1, 5], logits[4, 2, 7] = float("nan"), float("inf")
    logits[5] = logits[5].round()
    params = [SamplingParams(1.0, k, 0.0, 3.0) for k in (1, 5, 30, vocabulary, 0, 7)]
    params += [SamplingParams(0.3, 20, 0.0, 1.0), SamplingParams(0.0, 0, 0.0, 3.0)]
    rows = SamplingTensors.from_params(params, torch.device("cpu"))
    scale = torch.tensor([p.guidance for p in params])[:, None, None]
    other = torch.tensor([1, 2, 0, 4, 3, 6, 6, 0])
    for number in range(4):
        uniform = torch.rand(8, 4, dtype=torch.float64)
        uniform[0], uniform[1, 0], uniform[2, 1] = 0.0, 1 - 2**-53, 0.999999
        given = (logits, other, scale, rows, uniform)
        tokens, finite = sampling.sample_guided(*given)
        expected, known = twins.sample_guided(*given)
        assert torch.equal(finite, known), (finite, known)
        assert torch.equal(tokens[known], expected[known]), (tokens, expected)
config = MusicGenConfig.from_folder(Path(sys.argv[1]))
kernels = load_kernels(torch.device("cpu"), config.decoder, torch.float32)
assert kernels is not None and kernels.sample is sampling.sample_guided
engine = engines.engine(Path(sys.argv[1]), compiled=False)
slots = RowSlots(engines.model_of(engine).decoder, 4, 80, 24, kernels=kernels)
tokenize = engines.backend_of(engine).tokenize
runner = SlotRunner(slots, capture=False)
ours = build_engine(engines.model_of(engine), tokenize, "float32", rows=4, runner=runner)
rows = Row("piano", 1, SamplingParams(1.0, 30, 0.0, 3.0)), Row("", 2, SamplingParams(0.0, 0))
job = GenerationJob(rows, 10)
assert (engines.run(ours, job).codes == engines.run(engine, job).codes).all()
print("equal")
"""


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from musicgen.engine.pytorch.cuda.kernels import attention, products, sampling

def compile(kernel, types, capability, **constants):
    names = kernel.arg_names
    signature = dict(zip(names, types)) | dict.fromkeys(constants, "constexpr")
    values = {(names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=kernel, signature=signature, constexprs=values)
    assert triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]

sampled = ["*fp32", "*i64", "*fp32", "*fp32", "*i64", "*i1", "*fp64", "*i64", "*i1", "i32", "i32"]
for capability in (75, 80, 90):
    for kind in ("*fp32", "*bf16"):
        attended = [kind] * 3 + ["*i64"] * 2 + [kind] + ["i32"] * 4 + ["fp32"]
        compile(attention._attend, attended, capability, dim=64, padded=64, block=64)
        multiplied = [kind] * 3 + ["*i8", "*fp32", kind, "i32"]
        sizes = {"inputs": 2048, "block_out": 16, "block_in": 256}
        compile(products._multiply, multiplied, capability, **sizes)
    compile(sampling._sample, sampled, capability, padded=2048)
print("compiled")
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="needs the package triton")
def test_kernels_compile_for_gpus(tmp_path: Path) -> None:
    """Machine code for Turing, Ampere and Hopper, made without one; the interpreter makes none."""
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-c", COMPILE]
    run = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert run.stdout.strip() == "compiled", run.stderr[-2000:]


@pytest.mark.skipif(find_spec("triton") is None, reason="needs the package triton")
def test_kernels_compute_what_their_twins_do(checkpoints: Callable[[str], Path]) -> None:
    """Odd sizes, both types, a cache with NaN beyond the live part, ties, and a whole job."""
    environment = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", CHECK, str(checkpoints("musicgen-small"))]
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
