"""The state of one job while it is decoded, and a step of several jobs at once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from musicgen.engine.conditioning import Conditioning
from musicgen.engine.interface import Row
from musicgen.engine.kv_cache import StaticKVCache
from musicgen.engine.sampling import (
    SamplerFeatures,
    SamplingTensors,
    UniformDraws,
    guide_logits,
    sample_tokens,
)
from musicgen.model.decoder import Decoder, Segment, build_sinusoidal_positions
from musicgen.model.delay_pattern import UNKNOWN, DelayPattern


class SlotLease(Protocol):
    """A job's rows in memory that it shares with others."""

    def read_sequence(self) -> Tensor:
        """(clips, codebooks, length), a copy."""
        ...

    def read_finite(self) -> Tensor:
        """Whether every logit was; no dimensions."""
        ...


class SlotPool(Protocol):
    def can_hold(self, conditioning: Conditioning, length: int, capacity: int) -> bool:
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
        draws: UniformDraws,
        *,
        slots: SlotPool | None = None,
    ) -> None:
        config = decoder.config
        self.decoder = decoder
        self.conditioning = conditioning
        self._device, dtype = decoder.embeddings.device, decoder.embeddings.dtype
        self._pattern = DelayPattern(config.codebooks, config.channels, config.start_token)
        self.sequence = self._pattern.build_template(frames, known)
        length = self.sequence.shape[2]
        self.next_column = self._pattern.find_first_unknown(known.shape[2])
        self.total_steps = length - self.next_column
        self.first_column = self.next_column
        sampling = [clip.sampling for clip in clips]
        self.sampler_rows = SamplingTensors.from_params(sampling, self._device)
        self.sampler_kind = SamplerFeatures.from_params(sampling)
        self.draws = draws.next(self.total_steps, config.codebooks).to(self._device)
        self.guidance_scale = torch.tensor(
            [clips[i].sampling.guidance for i in conditioning.guided], device=self._device
        )[:, None, None]
        self._guided = torch.tensor(conditioning.guided, device=self._device, dtype=torch.int64)
        capacity = conditioning.prefix_length + length - 1
        self.fits_slots = slots is not None and slots.can_hold(conditioning, length, capacity)
        kept = conditioning.prefix_length + self.first_column if self.fits_slots else capacity
        self.cache = StaticKVCache(
            config, conditioning.rows, kept, self._device, decoder.cache_dtype
        )
        self.lease: SlotLease | None = None
        padding = conditioning.padding
        self._padding = None if padding is None else tuple(padding.tolist())
        self._positions = build_sinusoidal_positions(capacity, config.hidden_size).to(
            self._device, dtype
        )
        self._finite = torch.ones((), dtype=torch.bool, device=self._device)
        self.steps_done = 0
        self.logits = torch.empty(0)
        self._pending = self._embed_past()

    @torch.inference_mode()
    def prefill(self, max_columns: int | None = None) -> bool:
        """Reads `max_columns` columns of what is known, None for all; whether none is left."""
        x = self._pending[:, :max_columns]
        length = x.shape[1]
        self._pending = self._pending[:, length:]
        x = x + self._select_positions(length)
        hidden = self.decoder.forward_batch(x, [self.build_segment(0, length)])
        self.cache.advance(length)
        if self._pending.shape[1]:
            return False
        self.logits = self.decoder.compute_logits(hidden[:, -1])
        return True

    @property
    def rows(self) -> int:
        """Of the decoder: clips, and the unconditional halves of those that are guided."""
        return self.conditioning.rows

    def step(self) -> None:
        """Samples the next column of the sequence and predicts the one after it."""
        step_batch([self])

    def fill_known(self, guided: Tensor, tokens: Tensor) -> Tensor:
        """The next column (clips, codebooks): the `tokens` that were drawn from `guided` logits,
        where they are not known."""
        self._finite &= guided.isfinite().all()
        known = self.sequence[:, :, self.next_column]
        return torch.where(known == UNKNOWN, tokens, known)

    def embed_column(self, column: Tensor) -> Tensor:
        """A column as the decoder's input: (rows, 1, hidden)."""
        x = self.decoder.embed(self._expand_rows(column[:, :, None]))
        return x + self._select_positions(1)

    def build_segment(self, first_row: int, length: int = 1) -> Segment:
        """Where this job stands in a batch, for its next `length` steps."""
        rows = slice(first_row, first_row + self.rows)
        mask = self._build_mask(length) if self.decoder.native is None else None
        return Segment(rows, self.cache, self.conditioning.cross, mask, self._padding)

    def append_column(self, column: Tensor, logits: Tensor | None) -> None:
        """Takes the sampled column, and what the decoder predicts after it (rows, codebooks,
        vocabulary); None when no column follows."""
        self.sequence[:, :, self.next_column] = column
        if logits is not None:
            self.cache.advance(1)
            self.logits = logits
        self.next_column += 1
        self.steps_done += 1

    def is_finite(self) -> bool:
        """Whether every logit so far was finite. Waits for the device."""
        finite = self._finite if self.lease is None else self._finite & self.lease.read_finite()
        return bool(finite.item())

    def read_codes(self, done: int | None = None) -> Tensor:
        """(rows, codebooks, frames) that are complete after `done` steps, or after all so far."""
        known = self.first_column + (self.steps_done if done is None else done)
        sequence = self.sequence if self.lease is None else self.lease.read_sequence()
        return self._pattern.revert(sequence[:, :, :known])

    def _embed_past(self) -> Tensor:
        """The decoder's input up to the first step, without its positions."""
        x = self.decoder.embed(self._expand_rows(self.sequence[:, :, : self.first_column]))
        prefix = self.conditioning.prefix
        return x if prefix is None else torch.cat([prefix, x], dim=1)

    def _expand_rows(self, tokens: Tensor) -> Tensor:
        """Columns (clips, codebooks, length) for all decoder rows: a guided clip's twice."""
        return torch.cat([tokens, tokens[self._guided]]) if len(self._guided) else tokens

    def apply_guidance(self) -> Tensor:
        """(clips, codebooks, vocabulary)"""
        clips = self.conditioning.clips
        guided = self.logits[:clips]
        if not len(self._guided):
            return guided
        mixed = guide_logits(guided[self._guided], self.logits[clips:], self.guidance_scale)
        return guided.index_copy(0, self._guided, mixed)

    def _select_positions(self, length: int) -> Tensor:
        start = self.cache.length
        padding = self.conditioning.padding
        if padding is None:
            return self._positions[start : start + length]
        columns = torch.arange(start, start + length, device=self._device)
        return self._positions[(columns - padding[:, None]).clamp(min=0)]

    def _build_mask(self, length: int) -> Tensor | None:
        padding = self.conditioning.padding
        if length == 1 and padding is None:
            return None
        start = self.cache.length
        columns = torch.arange(start + length, device=self._device)
        causal = columns <= torch.arange(start, start + length, device=self._device)[:, None]
        if padding is None:
            return causal[None, None]
        # A padded step sees itself: a row of the softmax must not be empty.
        present = (columns >= padding[:, None, None]) | (columns == columns[start:, None])
        return (causal & present)[:, None]


@torch.inference_mode()
def step_batch(states: Sequence[DecodeState]) -> None:
    """One step of each of `states`, which share a decoder; all their rows in one pass.

    If it fails, nothing has changed and any of them may be stepped again.
    """
    columns = _sample_columns(states)
    # The last column is sampled, and needs no prediction after it.
    unfinished = [i for i, state in enumerate(states) if state.steps_done + 1 < state.total_steps]
    predicted: dict[int, Tensor] = {}
    if unfinished:
        parts = [states[i].embed_column(columns[i]) for i in unfinished]
        sizes = [len(part) for part in parts]
        starts = itertools.accumulate(sizes, initial=0)
        segments = [
            states[i].build_segment(start) for i, start in zip(unfinished, starts, strict=False)
        ]
        x = parts[0] if len(parts) == 1 else torch.cat(parts)
        decoder = states[0].decoder
        logits = decoder.compute_logits(decoder.forward_batch(x, segments)[:, -1])
        predicted = dict(zip(unfinished, torch.split(logits, sizes), strict=True))
    for index, (state, column) in enumerate(zip(states, columns, strict=True)):
        state.append_column(column, predicted.get(index))


def _sample_columns(states: Sequence[DecodeState]) -> list[Tensor]:
    """The next column of each (clips, codebooks), drawn at once: many small draws cost more than
    the decoder saves."""
    guided = [state.apply_guidance() for state in states]
    tokens = sample_tokens(
        torch.cat(guided),
        SamplingTensors.cat([state.sampler_rows for state in states]),
        SamplerFeatures.cat([state.sampler_kind for state in states]),
        torch.cat([state.draws[:, state.steps_done] for state in states]),
    )
    parts = torch.split(tokens, [len(logits) for logits in guided])
    return [
        state.fill_known(logits, part)
        for state, logits, part in zip(states, guided, parts, strict=True)
    ]
