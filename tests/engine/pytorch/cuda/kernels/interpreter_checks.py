"""Compare Triton's kernels with their twins in Triton's interpreter, in a process of its own.

    TRITON_INTERPRET=1 python -m tests.engine.pytorch.cuda.kernels.interpreter_checks CHECKPOINT

The last line is "equal".
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from musicgen.engine.interface import GenerationJob, Row
from musicgen.engine.pytorch.cuda.fused import FusedLayers
from musicgen.engine.pytorch.cuda.graphs import SlotRunner
from musicgen.engine.pytorch.cuda.kernels import attention, products, sampling, twins
from musicgen.engine.pytorch.cuda.kernels.choice import load_kernels
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
    """A whole job with all kernels, against the engine without slots."""
    config = MusicGenConfig.from_folder(folder)
    kernels = load_kernels(torch.device("cpu"), config.decoder, torch.float32, KernelOptions())
    assert kernels is not None
    assert kernels.multiply is products.multiply
    engine = engines.engine(folder, compiled=False)
    decoder = engines.model_of(engine).decoder
    slots = RowSlots(decoder, 4, 80, 24, fused=FusedLayers(decoder, kernels))
    tokenize = engines.backend_of(engine).tokenize
    runner = SlotRunner(slots, capture=False)
    ours = build_engine(engines.model_of(engine), tokenize, "float32", rows=4, runner=runner)
    rows = Row("piano", 1, SamplingParams(1.0, 30, 0.0, 3.0)), Row("", 2, SamplingParams(0.0, 0))
    job = GenerationJob(rows, 10)
    assert (engines.run(ours, job).codes == engines.run(engine, job).codes).all()


@torch.inference_mode()
def main() -> None:
    torch.manual_seed(0)
    # The interpreter's processor counts as one; a GPU's many share the columns of few heads.
    attention.PROGRAMS_PER_PROCESSOR = 64
    for dtype in TOLERANCES:
        check_products(dtype)
        check_attention(dtype)
    check_sampling()
    with torch.inference_mode(False):
        check_job(Path(sys.argv[1]))
    sys.stdout.write("equal\n")


if __name__ == "__main__":
    main()
