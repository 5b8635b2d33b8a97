"""Noise schedule of multi-band diffusion and one step of its reverse process.

Source: San Roman et al. 2023, "From Discrete Tokens to High-Fidelity Audio Using Multi-Band
Diffusion", and `audiocraft/modules/diffusion_schedule.py`, whose sampler visits 20 of the 1,000
steps of training.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

TRAINED_STEPS = 1000
VISITED = (*range(TRAINED_STEPS - 1, -1, -50), 0)
"""Steps from noise to sound. The last one is the goal of the step before it."""
STEPS = len(VISITED) - 1


@dataclass(frozen=True)
class ScheduleConfig:
    """A power schedule: `beta_t0` to `beta_t1` are the noise's variances, `clip` 0 is no limit."""

    beta_t0: float
    beta_t1: float
    beta_exp: float
    clip: float
    noise_scale: float


@dataclass(frozen=True)
class ReverseStep:
    """One step of the reverse process.

    The next sound is (current - `removed` * estimate) / `scale`, plus noise of deviation `sigma`.
    """

    index: int
    removed: float
    scale: float
    sigma: float


def compute_alpha_bars(config: ScheduleConfig) -> Tensor:
    """Return the remaining share of the signal's variance after each step (TRAINED_STEPS,)."""
    exponent = config.beta_exp
    ends = config.beta_t0 ** (1 / exponent), config.beta_t1 ** (1 / exponent)
    betas = torch.linspace(*ends, TRAINED_STEPS, dtype=torch.float32) ** exponent
    return (1 - betas).cumprod(dim=0)


def plan_steps(config: ScheduleConfig) -> Iterator[ReverseStep]:
    """Yield the steps from noise to sound."""
    bars = [float(bar) for bar in compute_alpha_bars(config)]
    for step, following in itertools.pairwise(VISITED):
        bar, next_bar = bars[step], bars[following]
        alpha = bar / next_bar
        is_last = following == VISITED[-1]
        sigma2 = 0.0 if is_last else (1 - next_bar) / (1 - bar) * (1 - alpha)
        scale = config.noise_scale
        removed = (1 - alpha) / (1 - bar) ** 0.5 * scale
        yield ReverseStep(step, removed, alpha**0.5, sigma2**0.5 * scale)


def take_step(
    config: ScheduleConfig,
    step: ReverseStep,
    current: Tensor,
    estimate: Tensor,
    noise: Tensor | None,
) -> Tensor:
    """Return the sound after one step; `noise` is None where the step adds none."""
    result = (current - step.removed * estimate) / step.scale
    if noise is not None:
        result = result + step.sigma * noise
    return result.clamp(-config.clip, config.clip) if config.clip else result
