"""Compare Triton's kernels with their twins in Triton's interpreter, in a process of its own.

    TRITON_INTERPRET=1 python -m tests.engine.pytorch.cuda.kernels.interpreter_checks CHECKPOINT

The last line is "equal".
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from musicgen.engine.interface import GenerationJob, Row
from musicgen.engine.pytorch.cuda.fused import FusedLayers
from musicgen.engine.pytorch.cuda.graphs import SlotRunner
from musicgen.engine.pytorch.cuda.kernels import attention, products, sampling, twins
from musicgen.engine.pytorch.cuda.kernels.choice import TWINS, StepKernels, load_kernels
from musicgen.engine.pytorch.cuda.kernels.options import KernelOptions
from musicgen.engine.pytorch.cuda.kernels.tiles import CANDIDATES
from musicgen.engine.pytorch.cuda.kernels.weights import build_product
from musicgen.engine.pytorch.cuda.slots import RowSlots
from musicgen.engine.pytorch.loading import build_engine
from musicgen.engine.pytorch.sampling import SamplingTensors
from musicgen.model.config import MusicGenConfig
from musicgen.request import SamplingParams
from tests.support import engines

TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
SHAPES = ((1, 64, 16), (2, 300, 37), (5, 512, 48), (16, 80, 24))
"""Rows, inputs and outputs."""


def assert_close(found: Tensor, wanted: Tensor) -> None:
    """Compare within the tolerance of the type; outputs of many inputs are of the order of 3."""
    tolerance = TOLERANCES[wanted.dtype]
    torch.testing.assert_close(found, wanted, rtol=3 * tolerance, atol=3 * tolerance)


def check_products(dtype: torch.dtype) -> None:
    """Odd sizes, all forms of weights, with and without tensor cores."""
    for number, (rows, inputs, outputs) in enumerate(SHAPES):
        x = (3 * torch.randn(rows, inputs) + 1).to(dtype)
        weight = (torch.randn(outputs, inputs) / inputs**0.5).to(dtype)
        norm = nn.LayerNorm(inputs, dtype=dtype)
        norm.weight.copy_(1 + torch.randn(inputs) / 4)
        norm.bias.copy_(torch.randn(inputs))
        added = torch.randn(rows, outputs).to(dtype)
        for form in ("", "int8", "fp8"):
            activation = ("", "gelu", "relu", "gelu")[number]
            normed = build_product(weight.clone(), form=form, norm=norm, activation=activation)
            plain = build_product(weight.clone(), form=form)
            for tile in (None, CANDIDATES[4], CANDIDATES[5], CANDIDATES[7]):
                found = products.multiply(x, normed, tile=tile)
                assert_close(found, twins.multiply(x, normed))
                found = products.multiply(x, plain, added, tile=tile)
                assert_close(found, twins.multiply(x, plain, added))


def check_attention(dtype: torch.dtype) -> None:
    """Several splits, of which some are empty; what lies beyond the live part may be anything."""
    for dim, capacity, ends in (
        (16, 64, (1, 33, 64)),
        (24, 200, (1, 190, 129)),
        (16, 700, (65, 700, 64)),
    ):
        cache = torch.randn(2, 3, 2, capacity, dim).to(dtype)
        first, end = torch.tensor([0, 5, 63]), torch.tensor(ends)
        beyond = torch.arange(capacity) >= end[:, None]
        cache.masked_fill_(beyond[None, :, None, :, None], float("nan"))
        # The queries are parts of one product, so their rows are apart.
        joined = torch.randn(3, 3 * 2 * dim).to(dtype)
        ours, theirs = cache.clone(), cache.nan_to_num()
        found = attention.append_attend(joined, ours[0], ours[1], first, end)
        assert_close(found, twins.append_attend(joined, theirs[0], theirs[1], first, end))
        kept = ~beyond[None, :, None, :, None].expand_as(cache)
        assert torch.equal(ours[kept], theirs[kept])
        assert ours[~kept].isnan().all(), "a column beyond the new one was written"
        query = joined.view(3, 3, 2, dim)[:, 0]
        found = attention.attend_live(query, ours[0], ours[1], first, end)
        assert_close(found, twins.attend_live(query, theirs[0], theirs[1], first, end))


def check_quantized_attention(dtype: torch.dtype) -> None:
    """The same over an int8 cache, with a broken new key, a broken old one and a zero vector."""
    for dim, capacity, ends in (
        (16, 128, (2, 70, 128)),
        (24, 300, (2, 290, 129)),
        (64, 700, (130, 700, 193)),
    ):
        first, end = torch.tensor([0, 5, 63]), torch.tensor(ends)
        cache = torch.randn(2, 3, 2, capacity, dim).to(dtype)
        cache[:, 1, 0, 7] = 0
        beyond = torch.arange(capacity) >= end[:, None]
        numbers, factors = twins.quantize_vectors(cache)
        factors.masked_fill_(beyond[None, :, None], float("nan"))
        joined = torch.randn(3, 3 * 2 * dim).to(dtype)
        joined[:, dim] *= 300
        # The key of row 0's second head, and the value of row 2's first.
        joined.view(3, 3, 2, dim)[0, 1, 1, 3] = float("-inf")
        joined.view(3, 3, 2, dim)[2, 2, 0, 5] = float("nan")
        ours = numbers.clone(), factors.clone()
        theirs = numbers.clone(), factors.nan_to_num()
        found, wanted = (
            append(joined, kept[0][0], kept[0][1], first, end, (kept[1][0], kept[1][1]))
            for append, kept in ((attention.append_attend, ours), (twins.append_attend, theirs))
        )
        broken = torch.zeros(3, 2, dtype=torch.bool)
        broken[0, 1] = broken[2, 0] = True
        assert found[broken].isnan().all(), "a broken key or value is lost"
        assert_close(found[~broken], wanted[~broken])
        kept = ~beyond[None, :, None].expand(2, 3, 2, capacity)
        assert torch.equal(ours[0], theirs[0]), "the stored numbers differ, or others were written"
        torch.testing.assert_close(ours[1][kept], theirs[1][kept], rtol=0, atol=0, equal_nan=True)
        assert ours[1][~kept].isnan().all(), "a factor beyond the new column was written"
        query = joined.view(3, 3, 2, dim)[:, 0]
        later = attention.attend_live(query, *ours[0], first, end, (ours[1][0], ours[1][1]))
        assert later[broken].isnan().all(), "a broken column is lost in the next step"
        assert_close(later[~broken], found[~broken])


def check_sampling() -> None:
    """Ties, broken logits, and draws at the ends."""
    for vocabulary in (64, 300):
        logits = 3 * torch.randn(8, 4, vocabulary)
        logits[3, 1, 5], logits[4, 2, 7] = float("nan"), float("inf")
        logits[5] = logits[5].round()
        params = [SamplingParams(1.0, k, 0.0, 3.0) for k in (1, 5, 30, vocabulary, 0, 7)]
        params += [SamplingParams(0.3, 20, 0.0, 1.0), SamplingParams(0.0, 0, 0.0, 3.0)]
        rows = SamplingTensors.from_params(params, torch.device("cpu"))
        scale = torch.tensor([p.guidance for p in params])[:, None, None]
        other = torch.tensor([1, 2, 0, 4, 3, 6, 6, 0])
        for _ in range(4):
            uniform = torch.rand(8, 4, dtype=torch.float64)
            uniform[0], uniform[1, 0], uniform[2, 1] = 0.0, 1 - 2**-53, 0.999999
            given = (logits, other, scale, rows, uniform)
            tokens, finite = sampling.sample_guided(*given)
            expected, known = twins.sample_guided(*given)
            assert torch.equal(finite, known), (finite, known)
            assert torch.equal(tokens[known], expected[known]), (tokens, expected)


def check_job(folder: Path) -> None:
    """A whole job with all kernels, against the engine without slots, or the twins in int8."""
    config = MusicGenConfig.from_folder(folder)
    options = KernelOptions(kv_cache="int8")
    kernels = load_kernels(torch.device("cpu"), config.decoder, torch.float32, options)
    assert kernels is not None
    assert kernels.multiply is products.multiply
    assert kernels.kv_cache == "int8"
    engine = engines.engine(folder, compiled=False)
    decoder = engines.model_of(engine).decoder
    tokenize = engines.backend_of(engine).tokenize
    rows = Row("piano", 1, SamplingParams(1.0, 30, 0.0, 3.0)), Row("", 2, SamplingParams(0.0, 0))
    job = GenerationJob(rows, 10)

    def run(kernels: StepKernels) -> Any:
        slots = RowSlots(decoder, 4, 80, 24, fused=FusedLayers(decoder, kernels))
        runner = SlotRunner(slots, capture=False)
        ours = build_engine(engines.model_of(engine), tokenize, "float32", rows=4, runner=runner)
        return engines.run(ours, job).codes

    assert (run(replace(kernels, kv_cache="")) == engines.run(engine, job).codes).all()
    assert (run(kernels) == run(replace(TWINS, kv_cache="int8"))).all()


@torch.inference_mode()
def main() -> None:
    torch.manual_seed(0)
    # The interpreter's processor counts as one; a GPU's many share the columns of few heads.
    attention.PROGRAMS_PER_PROCESSOR = 64
    for dtype in TOLERANCES:
        check_products(dtype)
        check_attention(dtype)
        check_quantized_attention(dtype)
    check_sampling()
    with torch.inference_mode(False):
        check_job(Path(sys.argv[1]))
    sys.stdout.write("equal\n")


if __name__ == "__main__":
    main()
