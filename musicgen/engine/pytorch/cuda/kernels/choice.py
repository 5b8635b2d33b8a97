"""Kernels of a decode step: Triton's where they run and agree with their twins."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from musicgen.engine.pytorch.cuda.kernels import twins
from musicgen.engine.pytorch.sampling import SamplingTensors
from musicgen.model.config import DecoderConfig
from musicgen.request import SamplingParams

Attend = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
Sample = Callable[[Tensor, Tensor, Tensor, SamplingTensors, Tensor], tuple[Tensor, Tensor]]
TOLERANCE = 0.05
"""Largest relative error of attention in the check: a wrong kernel is far from it."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepKernels:
    """Kernels of a step, with the arguments and results of `twins`."""

    attend: Attend
    sample: Sample


TWINS = StepKernels(twins.attend_live, twins.sample_guided)


def load_kernels(
    device: torch.device, config: DecoderConfig, dtype: torch.dtype
) -> StepKernels | None:
    """Return Triton's kernels after a run of each on `device`, which also compiles it.

    None if they do not run there or give other results: steps then use PyTorch's operators.
    """
    try:
        from musicgen.engine.pytorch.cuda.kernels.attention import attend_live
        from musicgen.engine.pytorch.cuda.kernels.sampling import sample_guided

        kernels = StepKernels(attend_live, sample_guided)
        check_kernels(kernels, device, config, dtype)
    except Exception as error:  # Triton's compiler has many; no request may fail for one
        logger.warning(
            "The Triton kernels do not run on %s; steps use PyTorch's operators: %s: %s",
            *(device, type(error).__name__, error),
        )
        return None
    logger.info("steps use Triton kernels: attention and sampling")
    return kernels


@torch.inference_mode()
def check_kernels(
    kernels: StepKernels, device: torch.device, config: DecoderConfig, dtype: torch.dtype
) -> None:
    """Compare the kernels with their twins on the model's sizes. Raises: `ValueError`."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    heads, dim = config.heads, config.head_dim
    query, keys, values = draw(2, heads, dim), draw(2, heads, 80, dim), draw(2, heads, 80, dim)
    first, end = torch.tensor([0, 3], device=device), torch.tensor([70, 4], device=device)
    given = query, keys, values, first, end
    found, wanted = kernels.attend(*given).float(), twins.attend_live(*given).float()
    # An error that is not a number is not below the tolerance either.
    if not float((found - wanted).norm() / wanted.norm()) <= TOLERANCE:
        raise ValueError("attention differs from PyTorch's")
    logits = draw(3, config.codebooks, config.vocab_size).float()
    params = [SamplingParams(1.0, 20, 0.0, 3.0), SamplingParams(0.7, 0), SamplingParams(0.0, 0)]
    rows = SamplingTensors.from_params(params, device)
    scale = torch.tensor([3.0, 1.0, 1.0], device=device)[:, None, None]
    other = torch.tensor([2, 1, 2], device=device)
    uniform = torch.rand(3, config.codebooks, generator=generator, dtype=torch.float64).to(device)
    chosen = logits, other, scale, rows, uniform
    for ours, theirs in zip(kernels.sample(*chosen), twins.sample_guided(*chosen), strict=True):
        if not torch.equal(ours, theirs):
            raise ValueError("sampling differs from PyTorch's")
