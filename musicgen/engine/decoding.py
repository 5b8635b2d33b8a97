"""The state of one job while it is decoded, and a step of several jobs at once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from musicgen.engine.conditioning import Conditioning
from musicgen.engine.interface import GenerationJob
from musicgen.engine.kv_cache import StaticCache
from musicgen.engine.sampling import Sampler, guide, uniform_draws
from musicgen.model.decoder import Decoder, Segment, sinusoidal_positions
from musicgen.model.delay_pattern import UNKNOWN, DelayPattern


class DecodeState:
    """Fills a job's delayed sequence one step at a time, all rows together.

    Making one runs the decoder over everything known (the prefix, the start token and the audio
    prompt); each step then samples the next column and runs the decoder over it. `done` counts
    the steps. Whoever steps it may be in another thread than whoever reads `codes`.
    """

    def __init__(
        self,
        decoder: Decoder,
        job: GenerationJob,
        conditioning: Conditioning,
        prompt: Tensor | None,
    ) -> None:
        config = decoder.config
        self.decoder = decoder
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
        self._cache = StaticCache(
            config, conditioning.rows, capacity, self._device, decoder.cache_dtype
        )
        padding = conditioning.padding
        self._padding = None if padding is None else tuple(padding.tolist())
        self._positions = sinusoidal_positions(capacity, config.hidden_size).to(self._device, dtype)
        self._finite = torch.ones((), dtype=torch.bool, device=self._device)
        self.done = 0
        self._logits = self._prefill()

    @property
    def rows(self) -> int:
        """Of the decoder: clips, and the unconditional halves of those that are guided."""
        return self._conditioning.rows

    def step(self) -> None:
        """Samples the next column of the sequence and predicts the one after it."""
        step_together([self])

    def sampled(self) -> Tensor:
        """The next column, (clips, codebooks). Changes nothing."""
        tokens = self._sampler(self._logits, self.done)
        known = self._sequence[:, :, self._next]
        return torch.where(known == UNKNOWN, tokens, known)

    def embedded(self, column: Tensor) -> Tensor:
        """A column as the decoder's input: (rows, 1, hidden)."""
        x = self.decoder.embed(self._with_unconditional(column[:, :, None]))
        return x + self._position_embeddings(1)

    def segment(self, first_row: int, length: int = 1) -> Segment:
        """Where this job stands in a batch, for its next `length` steps."""
        rows = slice(first_row, first_row + self.rows)
        mask = self._mask(length) if self.decoder.native is None else None
        return Segment(rows, self._cache, self._conditioning.cross, mask, self._padding)

    def accept(self, column: Tensor, hidden: Tensor | None) -> None:
        """Takes the sampled column, and what the decoder made of it (rows, 1, hidden); None when
        no column follows."""
        self._sequence[:, :, self._next] = column
        if hidden is not None:
            self._cache.advance(1)
            self._logits = self._guided_logits(hidden)
        self._next += 1
        self.done += 1

    def all_finite(self) -> bool:
        """Whether every logit so far was finite. Waits for the device."""
        return bool(self._finite.item())

    def codes(self, done: int | None = None) -> Tensor:
        """(rows, codebooks, frames) that are complete after `done` steps, or after all so far."""
        known = self._first + (self.done if done is None else done)
        return self._pattern.revert(self._sequence[:, :, :known])

    def _prefill(self) -> Tensor:
        x = self.decoder.embed(self._with_unconditional(self._sequence[:, :, : self._first]))
        if self._conditioning.prefix is not None:
            x = torch.cat([self._conditioning.prefix, x], dim=1)
        length = x.shape[1]
        x = x + self._position_embeddings(length)
        hidden = self.decoder.together(x, [self.segment(0, length)])
        self._cache.advance(length)
        return self._guided_logits(hidden)

    def _with_unconditional(self, tokens: Tensor) -> Tensor:
        """Columns (clips, codebooks, length) for all decoder rows: a guided clip's twice."""
        return torch.cat([tokens, tokens[self._guided]]) if len(self._guided) else tokens

    def _guided_logits(self, hidden: Tensor) -> Tensor:
        """Of the last step of (rows, length, hidden): (clips, codebooks, vocabulary)."""
        logits = self.decoder.logits(hidden[:, -1])
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


@torch.inference_mode()
def step_together(states: Sequence[DecodeState]) -> None:
    """One step of each of `states`, which share a decoder; all their rows in one pass.

    If it fails, nothing has changed and any of them may be stepped again.
    """
    columns = [state.sampled() for state in states]
    # The last column is sampled, and needs no prediction after it.
    going_on = [i for i, state in enumerate(states) if state.done + 1 < state.steps]
    hidden: dict[int, Tensor] = {}
    if going_on:
        parts = [states[i].embedded(columns[i]) for i in going_on]
        sizes = [len(part) for part in parts]
        starts = itertools.accumulate(sizes, initial=0)
        segments = [states[i].segment(start) for i, start in zip(going_on, starts, strict=False)]
        x = parts[0] if len(parts) == 1 else torch.cat(parts)
        made = states[0].decoder.together(x, segments)
        hidden = dict(zip(going_on, torch.split(made, sizes), strict=True))
    for index, (state, column) in enumerate(zip(states, columns, strict=True)):
        state.accept(column, hidden.get(index))
