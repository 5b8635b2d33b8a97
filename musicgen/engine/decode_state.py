"""The state of one job while it is decoded, and a step of several jobs at once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from musicgen.engine.conditioning import Conditioning
from musicgen.engine.interface import Row
from musicgen.engine.kv_cache import StaticCache
from musicgen.engine.sampling import Draws, SamplerKind, SamplerRows, draw, guide
from musicgen.model.decoder import Decoder, Segment, sinusoidal_positions
from musicgen.model.delay_pattern import UNKNOWN, DelayPattern


class Lease(Protocol):
    """A job's rows in memory that it shares with others."""

    def sequence(self) -> Tensor:
        """(clips, codebooks, length), a copy."""
        ...

    def finite(self) -> Tensor:
        """Whether every logit was; no dimensions."""
        ...


class Slots(Protocol):
    def fit(self, conditioning: Conditioning, length: int, capacity: int) -> bool:
        """Whether a job with a delayed sequence of `length` may be decoded here."""
        ...


class DecodeState:
    """Fills the delayed sequence of one window of a job step by step, all its clips together.

    `prefill` runs the decoder over everything known: the prefix, the start token and the codes of
    `known` (clips, codebooks, frames). Each step then samples the next column and runs the decoder
    over it. `done` counts the steps. Whoever steps it may be in another thread than whoever reads
    `codes`.

    With `slots` it may go on there: then its `lease` has what is decoded, and it keeps no cache.
    """

    def __init__(
        self,
        decoder: Decoder,
        clips: Sequence[Row],
        frames: int,
        conditioning: Conditioning,
        known: Tensor,
        draws: Draws,
        *,
        slots: Slots | None = None,
    ) -> None:
        config = decoder.config
        self.decoder = decoder
        self.conditioning = conditioning
        self._device, dtype = decoder.embeddings.device, decoder.embeddings.dtype
        self._pattern = DelayPattern(config.codebooks, config.channels, config.start_token)
        self.sequence = self._pattern.template(frames, known)
        length = self.sequence.shape[2]
        self.next = self._pattern.first_unknown(known.shape[2])
        self.steps = length - self.next
        self.first = self.next
        sampling = [clip.sampling for clip in clips]
        self.sampler_rows = SamplerRows.of(sampling, self._device)
        self.sampler_kind = SamplerKind.of(sampling)
        self.draws = draws.next(self.steps, config.codebooks).to(self._device)
        self.scale = torch.tensor(
            [clips[i].sampling.guidance for i in conditioning.guided], device=self._device
        )[:, None, None]
        self._guided = torch.tensor(conditioning.guided, device=self._device, dtype=torch.int64)
        capacity = conditioning.prefix_length + length - 1
        self.fits_slots = slots is not None and slots.fit(conditioning, length, capacity)
        kept = conditioning.prefix_length + self.first if self.fits_slots else capacity
        self.cache = StaticCache(config, conditioning.rows, kept, self._device, decoder.cache_dtype)
        self.lease: Lease | None = None
        padding = conditioning.padding
        self._padding = None if padding is None else tuple(padding.tolist())
        self._positions = sinusoidal_positions(capacity, config.hidden_size).to(self._device, dtype)
        self._finite = torch.ones((), dtype=torch.bool, device=self._device)
        self.done = 0
        self.logits = torch.empty(0)
        self._unread = self._embedded_past()

    @torch.inference_mode()
    def prefill(self, most: int | None = None) -> bool:
        """Reads `most` columns of what is known, None for all; whether none is left."""
        x = self._unread[:, :most]
        length = x.shape[1]
        self._unread = self._unread[:, length:]
        x = x + self._position_embeddings(length)
        hidden = self.decoder.together(x, [self.segment(0, length)])
        self.cache.advance(length)
        if self._unread.shape[1]:
            return False
        self.logits = self.decoder.logits(hidden[:, -1])
        return True

    @property
    def rows(self) -> int:
        """Of the decoder: clips, and the unconditional halves of those that are guided."""
        return self.conditioning.rows

    def step(self) -> None:
        """Samples the next column of the sequence and predicts the one after it."""
        step_together([self])

    def completed(self, guided: Tensor, tokens: Tensor) -> Tensor:
        """The next column (clips, codebooks): the `tokens` that were drawn from `guided` logits,
        where they are not known."""
        self._finite &= guided.isfinite().all()
        known = self.sequence[:, :, self.next]
        return torch.where(known == UNKNOWN, tokens, known)

    def embedded(self, column: Tensor) -> Tensor:
        """A column as the decoder's input: (rows, 1, hidden)."""
        x = self.decoder.embed(self._with_unconditional(column[:, :, None]))
        return x + self._position_embeddings(1)

    def segment(self, first_row: int, length: int = 1) -> Segment:
        """Where this job stands in a batch, for its next `length` steps."""
        rows = slice(first_row, first_row + self.rows)
        mask = self._mask(length) if self.decoder.native is None else None
        return Segment(rows, self.cache, self.conditioning.cross, mask, self._padding)

    def accept(self, column: Tensor, logits: Tensor | None) -> None:
        """Takes the sampled column, and what the decoder predicts after it (rows, codebooks,
        vocabulary); None when no column follows."""
        self.sequence[:, :, self.next] = column
        if logits is not None:
            self.cache.advance(1)
            self.logits = logits
        self.next += 1
        self.done += 1

    def all_finite(self) -> bool:
        """Whether every logit so far was finite. Waits for the device."""
        finite = self._finite if self.lease is None else self._finite & self.lease.finite()
        return bool(finite.item())

    def codes(self, done: int | None = None) -> Tensor:
        """(rows, codebooks, frames) that are complete after `done` steps, or after all so far."""
        known = self.first + (self.done if done is None else done)
        sequence = self.sequence if self.lease is None else self.lease.sequence()
        return self._pattern.revert(sequence[:, :, :known])

    def _embedded_past(self) -> Tensor:
        """The decoder's input up to the first step, without its positions."""
        x = self.decoder.embed(self._with_unconditional(self.sequence[:, :, : self.first]))
        prefix = self.conditioning.prefix
        return x if prefix is None else torch.cat([prefix, x], dim=1)

    def _with_unconditional(self, tokens: Tensor) -> Tensor:
        """Columns (clips, codebooks, length) for all decoder rows: a guided clip's twice."""
        return torch.cat([tokens, tokens[self._guided]]) if len(self._guided) else tokens

    def guided_logits(self) -> Tensor:
        """(clips, codebooks, vocabulary)"""
        clips = self.conditioning.clips
        guided = self.logits[:clips]
        if not len(self._guided):
            return guided
        mixed = guide(guided[self._guided], self.logits[clips:], self.scale)
        return guided.index_copy(0, self._guided, mixed)

    def _position_embeddings(self, length: int) -> Tensor:
        start = self.cache.length
        padding = self.conditioning.padding
        if padding is None:
            return self._positions[start : start + length]
        slots = torch.arange(start, start + length, device=self._device)
        return self._positions[(slots - padding[:, None]).clamp(min=0)]

    def _mask(self, length: int) -> Tensor | None:
        padding = self.conditioning.padding
        if length == 1 and padding is None:
            return None
        start = self.cache.length
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
    columns = _sampled(states)
    # The last column is sampled, and needs no prediction after it.
    going_on = [i for i, state in enumerate(states) if state.done + 1 < state.steps]
    predicted: dict[int, Tensor] = {}
    if going_on:
        parts = [states[i].embedded(columns[i]) for i in going_on]
        sizes = [len(part) for part in parts]
        starts = itertools.accumulate(sizes, initial=0)
        segments = [states[i].segment(start) for i, start in zip(going_on, starts, strict=False)]
        x = parts[0] if len(parts) == 1 else torch.cat(parts)
        decoder = states[0].decoder
        logits = decoder.logits(decoder.together(x, segments)[:, -1])
        predicted = dict(zip(going_on, torch.split(logits, sizes), strict=True))
    for index, (state, column) in enumerate(zip(states, columns, strict=True)):
        state.accept(column, predicted.get(index))


def _sampled(states: Sequence[DecodeState]) -> list[Tensor]:
    """The next column of each (clips, codebooks), drawn at once: many small draws cost more than
    the decoder saves."""
    guided = [state.guided_logits() for state in states]
    tokens = draw(
        torch.cat(guided),
        SamplerRows.cat([state.sampler_rows for state in states]),
        SamplerKind.cat([state.sampler_kind for state in states]),
        torch.cat([state.draws[:, state.done] for state in states]),
    )
    parts = torch.split(tokens, [len(each) for each in guided])
    return [
        state.completed(logits, part)
        for state, logits, part in zip(states, guided, parts, strict=True)
    ]
