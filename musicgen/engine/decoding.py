"""The state of one job while it is decoded: sequence, cache, random draws."""

from __future__ import annotations

import torch
from torch import Tensor

from musicgen.engine.conditioning import Conditioning
from musicgen.engine.interface import GenerationJob
from musicgen.engine.kv_cache import StaticCache
from musicgen.engine.sampling import Sampler, guide, uniform_draws
from musicgen.model.decoder import Decoder, sinusoidal_positions
from musicgen.model.delay_pattern import UNKNOWN, DelayPattern


class DecodeState:
    """Fills a job's delayed sequence one step at a time, all rows together.

    Making one runs the decoder over everything known (the prefix, the start token and the audio
    prompt); each `step` then samples the next column and runs the decoder over it.
    """

    def __init__(
        self,
        decoder: Decoder,
        job: GenerationJob,
        conditioning: Conditioning,
        prompt: Tensor | None,
    ) -> None:
        config = decoder.config
        self._decoder = decoder
        self._conditioning = conditioning
        self._device, dtype = decoder.embeddings.device, decoder.embeddings.dtype
        self._pattern = DelayPattern(config.codebooks, config.channels, config.start_token)
        template = self._pattern.template(job.frames, prompt).to(self._device)
        self._sequence = template.repeat(len(job.rows), 1, 1)
        length = template.shape[1]
        prompt_frames = 0 if prompt is None else prompt.shape[1]
        self._next = self._pattern.first_unknown(prompt_frames)
        self.steps = length - self._next
        self._first = self._next
        self._sampler = Sampler(
            [row.sampling for row in job.rows],
            uniform_draws([row.seed for row in job.rows], self.steps, config.codebooks),
            self._device,
        )
        self._scale = torch.tensor(
            [job.rows[i].sampling.guidance for i in conditioning.guided], device=self._device
        )[:, None, None]
        self._guided = torch.tensor(conditioning.guided, device=self._device, dtype=torch.int64)
        capacity = conditioning.prefix_length + length - 1
        self._cache = StaticCache(config, conditioning.rows, capacity, self._device, dtype)
        self._positions = sinusoidal_positions(capacity, config.hidden_size).to(self._device, dtype)
        self._finite = torch.ones((), dtype=torch.bool, device=self._device)
        self._logits = self._prefill()

    @torch.inference_mode()
    def step(self) -> None:
        """Samples the next column of the sequence and predicts the one after it."""
        tokens = self._sampler(self._logits, self._next - self._first)
        known = self._sequence[:, :, self._next]
        self._sequence[:, :, self._next] = torch.where(known == UNKNOWN, tokens, known)
        if self._next + 1 < self._sequence.shape[2]:
            column = self._decoder.embed(self._with_unconditional(self._next, self._next + 1))
            self._logits = self._run(column)
        self._next += 1

    def all_finite(self) -> bool:
        """Whether every logit so far was finite. Waits for the device."""
        return bool(self._finite.item())

    def codes(self) -> Tensor:
        """(rows, codebooks, frames) that are complete: all of them once all steps are done."""
        return self._pattern.revert(self._sequence[:, :, : self._next])

    def _prefill(self) -> Tensor:
        known = self._decoder.embed(self._with_unconditional(0, self._first))
        prefix = self._conditioning.prefix
        return self._run(known if prefix is None else torch.cat([prefix, known], dim=1))

    def _with_unconditional(self, start: int, end: int) -> Tensor:
        """Columns of the sequence for all decoder rows: a guided clip's appears twice."""
        tokens = self._sequence[:, :, start:end]
        return torch.cat([tokens, tokens[self._guided]]) if len(self._guided) else tokens

    def _run(self, x: Tensor) -> Tensor:
        """One pass over embedded steps (rows, length, hidden); logits of the last, guided."""
        length = x.shape[1]
        x = x + self._position_embeddings(length)
        hidden = self._decoder(x, self._cache, self._conditioning.cross, self._mask(length))
        self._cache.advance(length)
        logits = self._decoder.logits(hidden[:, -1])
        clips = self._conditioning.clips
        guided = logits[:clips]
        if len(self._guided):
            guided = guided.index_copy(
                0, self._guided, guide(guided[self._guided], logits[clips:], self._scale)
            )
        self._finite &= guided.isfinite().all()
        return guided

    def _position_embeddings(self, length: int) -> Tensor:
        start = self._cache.length
        padding = self._conditioning.padding
        if padding is None:
            return self._positions[start : start + length]
        slots = torch.arange(start, start + length, device=self._device)
        return self._positions[(slots - padding[:, None]).clamp(min=0)]

    def _mask(self, length: int) -> Tensor | None:
        padding = self._conditioning.padding
        if length == 1 and padding is None:
            return None
        start = self._cache.length
        slots = torch.arange(start + length, device=self._device)
        causal = slots <= torch.arange(start, start + length, device=self._device)[:, None]
        if padding is None:
            return causal[None, None]
        # A padded step sees itself: a row of the softmax must not be empty.
        present = (slots >= padding[:, None, None]) | (slots == slots[start:, None])
        return (causal & present)[:, None]
