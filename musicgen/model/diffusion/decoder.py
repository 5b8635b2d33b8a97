"""Decode EnCodec's tokens by multi-band diffusion.

Each band's model turns noise into its part of the sound, conditioned on the latents of the tokens.
The parts are added, and each of 32 frequency bands gets the level it has in EnCodec's own decoding.
Source: San Roman et al. 2023; `audiocraft/models/multibanddiffusion.py`.

A U-Net hears at most `WINDOW_SECONDS`. Of a longer clip it hears overlapping windows of the same
noisy sound in every step, and their estimates are faded into each other. All windows share one
state, so they cannot drift apart, and memory is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from musicgen.model.diffusion.bands import BandFilters, match_bands
from musicgen.model.diffusion.schedule import STEPS, ScheduleConfig, plan_steps, take_step
from musicgen.model.diffusion.unet import Unet

WINDOW_SECONDS, OVERLAP_SECONDS = 30.0, 2.0
EQUALIZER_BANDS = 32
Estimate = Callable[[Tensor, int, Tensor], Tensor]


class Noise(Protocol):
    """Source of Gaussian noise."""

    def draw(self, *shape: int) -> Tensor:
        """Draw the next float32 numbers of a shape, on the processor."""
        ...


class Rescaling:
    """Levels of bands in the space of the diffusion, undone after it.

    `gains` (bands,) restore each band, and `offset` is the sum of their means. Without bands the
    sound stays as it is.
    """

    def __init__(self, sample_rate: int, gains: Tensor | None = None, offset: float = 0.0) -> None:
        self._gains, self._offset = gains, offset
        self._filters = None if gains is None else BandFilters(sample_rate, len(gains))

    def undo(self, sound: Tensor) -> Tensor:
        """Return `sound` (rows, samples) at the levels of music."""
        if self._filters is None or self._gains is None:
            return sound
        return self._filters.mix(sound, self._gains) + self._offset


@dataclass(frozen=True)
class DiffusionBand:
    """Model of one band, its schedule and its levels."""

    unet: Unet
    schedule: ScheduleConfig
    rescaling: Rescaling


class MultiBandDiffusion:
    """Decoder for the latents of one EnCodec model; `bands` are run in turn."""

    def __init__(self, sample_rate: int, bands: tuple[DiffusionBand, ...]) -> None:
        self.sample_rate, self.bands = sample_rate, bands
        self._equalizer = BandFilters(sample_rate, EQUALIZER_BANDS)

    @property
    def codec_dims(self) -> set[int]:
        """Sizes of the latents that the bands are conditioned on."""
        dims = (band.unet.config.codec_dim for band in self.bands)
        return {dim for dim in dims if dim is not None}

    def count_steps(self, samples: int) -> int:
        """Return the number of estimates for a clip."""
        return len(self.bands) * STEPS * len(plan_windows(samples, self.sample_rate))

    @torch.inference_mode()
    def generate(
        self, latents: Tensor, samples: int, noise: Noise
    ) -> Generator[None, None, Tensor]:
        """Decode latents (rows, codec_dim, frames) to sound (rows, samples), not yet equalized.

        Yields after each estimate; closing the generator stops.
        """
        total = torch.zeros(len(latents), samples, device=latents.device)
        for band in self.bands:
            total += yield from self.generate_band(band, latents, samples, noise)
        return total

    @torch.inference_mode()
    def generate_band(
        self, band: DiffusionBand, latents: Tensor, samples: int, noise: Noise
    ) -> Generator[None, None, Tensor]:
        """Decode the part of one band, as `generate` does."""
        shape = len(latents), 1, samples
        current = noise.draw(*shape).to(latents.device) * band.schedule.noise_scale
        for step in plan_steps(band.schedule):
            estimate = yield from self._estimate(band.unet, current, step.index, latents)
            fresh = noise.draw(*shape).to(latents.device) if step.sigma else None
            current = take_step(band.schedule, step, current, estimate, fresh)
        return band.rescaling.undo(current[:, 0])

    @torch.inference_mode()
    def equalize(self, sound: Tensor, reference: Tensor) -> Tensor:
        """Give the bands of `sound` (rows, samples) the levels of EnCodec's own `reference`."""
        return match_bands(self._equalizer, sound, reference)

    def _estimate(
        self, unet: Unet, current: Tensor, step: int, latents: Tensor
    ) -> Generator[None, None, Tensor]:
        """Estimate the noise in `current` (rows, 1, samples), window by window."""
        samples, frames = current.shape[-1], latents.shape[-1]
        windows = plan_windows(samples, self.sample_rate)
        if len(windows) == 1:
            whole: Tensor = unet(current, step, latents)
            yield
            return whole
        joined = torch.zeros_like(current)
        end = 0
        for start, stop in windows:
            first, last = start * frames // samples, -(-stop * frames // samples)
            part = unet(current[..., start:stop], step, latents[..., first:last])
            overlap = end - start
            if overlap > 0:
                ramp = torch.linspace(0, 1, overlap, device=part.device)
                part[..., :overlap] *= ramp
                joined[..., start:end] *= 1 - ramp
            joined[..., start:stop] += part
            end = stop
            yield
        return joined


def plan_windows(samples: int, sample_rate: int) -> list[tuple[int, int]]:
    """Return start and end of the windows of a clip; a short clip is one window.

    All but the last are `WINDOW_SECONDS` long, and the last ends with the clip.
    """
    window = int(WINDOW_SECONDS * sample_rate)
    stride = window - int(OVERLAP_SECONDS * sample_rate)
    starts = range(0, max(1, samples - (window - stride)), stride)
    return [(start, min(start + window, samples)) for start in starts]
