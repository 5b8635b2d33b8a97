"""Decode state of one job, and one decode step for several jobs at once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from musicgen.engine.backend import Codes, Draws
from musicgen.engine.interface import Row
from musicgen.engine.pytorch.conditioning import Conditioning
from musicgen.engine.pytorch.kv_cache import StaticKVCache
from musicgen.engine.pytorch.sampling import (
    SamplerFeatures,
    SamplingTensors,
    guide_apart,
    guide_logits,
    sample_tokens,
)
from musicgen.model.decoder import Decoder, Segment, build_sinusoidal_positions
from musicgen.model.delay_pattern import UNKNOWN, DelayPattern
from musicgen.model.upload import upload


class SlotLease(Protocol):
    """Slots of one job in the memory shared by the batch."""

    def read_sequence(self) -> Tensor:
        """Return a copy of the delayed sequence (clips, codebooks, length)."""
        ...

    def read_finite(self) -> Tensor:
        """Return a scalar tensor: whether all logits so far were finite."""
        ...


class SlotPool(Protocol):
    """Slots for the rows of a batch."""

    @property
    def positions(self) -> Tensor:
        """Position embeddings (capacity, hidden) on the device."""
        ...

    def can_hold(self, conditioning: Conditioning, length: int, capacity: int) -> bool:
        """Return whether a job with a delayed sequence of `length` fits into the slots."""
        ...


class DecodeState:
    """Delayed sequence of one window, filled step by step for all clips of a job.

    `prefill` runs the decoder over everything known: the prefix, the start token and the codes
    `known` (clips, codebooks, frames). Each step then samples the next column and runs the decoder
    over it. `steps_done` counts the steps. One thread may step while another reads the codes.

    With `slots`, decoding may continue there: `lease` then holds the sequence, and the state keeps
    only the KV cache of the prefill.
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
        slots: SlotPool | None = None,
    ) -> None:
        config = decoder.config
        self.decoder = decoder
        self.conditioning = conditioning
        self._device, dtype = decoder.embeddings.device, decoder.embeddings.dtype
        self._pattern = DelayPattern(config.codebooks, config.channels, config.start_token)
        template = self._pattern.build_template(frames, known.cpu().numpy())
        self.sequence = upload(torch.from_numpy(template), self._device)
        length = self.sequence.shape[2]
        self.next_column = self._pattern.find_first_unknown(known.shape[2])
        self.total_steps = length - self.next_column
        self.first_column = self.next_column
        params = [clip.sampling for clip in clips]
        self.sampling = SamplingTensors.from_params(params, self._device)
        self.sampler_features = SamplerFeatures.from_params(params)
        numbers = draws.next(self.total_steps, config.codebooks)
        self.draws = upload(torch.from_numpy(numbers), self._device)
        scales = [clips[i].sampling.guidance for i in conditioning.guided]
        self.guidance_scale = upload(scales, self._device, torch.float32)[:, None, None]
        self.guided = upload(conditioning.guided, self._device, torch.int64)
        self._styled = upload(conditioning.styled, self._device, torch.int64)
        text = [clips[i].sampling.text_guidance or 0.0 for i in conditioning.styled]
        self._text_guidance = upload(text, self._device, torch.float32)[:, None, None]
        capacity = conditioning.prefix_length + length - 1
        self.fits_slots = slots is not None and slots.can_hold(conditioning, length, capacity)
        cache_length = (
            conditioning.prefix_length + self.first_column if self.fits_slots else capacity
        )
        self.cache = StaticKVCache(
            config, conditioning.rows, cache_length, self._device, decoder.cache_dtype
        )
        self.lease: SlotLease | None = None
        self._positions = (
            slots.positions
            if slots is not None and self.fits_slots
            else upload(
                build_sinusoidal_positions(capacity, config.hidden_size).to(dtype), self._device
            )
        )
        self._finite = torch.ones((), dtype=torch.bool, device=self._device)
        self.steps_done = 0
        self.logits = torch.empty(0)
        self._pending = self._embed_past()

    @torch.inference_mode()
    def prefill(self, max_columns: int | None = None) -> bool:
        """Run the decoder over `max_columns` pending columns (None: all).

        Returns: whether no column is left.
        """
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
        """Number of decoder rows: clips, and the rows of their guidance."""
        return self.conditioning.rows

    def step(self) -> None:
        """Sample the next column of the sequence and predict the one after it."""
        step_batch([self])

    def fill_known(self, guided: Tensor, tokens: Tensor) -> Tensor:
        """Return the next column (clips, codebooks): known tokens, else the sampled `tokens`.

        `guided`: the logits `tokens` were sampled from, checked for finite values.
        """
        self._finite &= guided.isfinite().all()
        known = self.sequence[:, :, self.next_column]
        return torch.where(known == UNKNOWN, tokens, known)

    def embed_column(self, column: Tensor) -> Tensor:
        """Embed a column (clips, codebooks) as the decoder's input (rows, 1, hidden)."""
        x = self.decoder.embed(self._expand_rows(column[:, :, None]))
        return x + self._select_positions(1)

    def build_segment(self, first_row: int, length: int = 1) -> Segment:
        """Return this job's segment of a batch for its next `length` steps."""
        rows = slice(first_row, first_row + self.rows)
        mask = self._build_mask(length) if self.decoder.native is None else None
        return Segment(rows, self.cache, self.conditioning.cross, mask, self.conditioning.padded)

    def append_column(self, column: Tensor, logits: Tensor | None) -> None:
        """Store the sampled column and the logits after it (rows, codebooks, vocabulary).

        `logits` is None after the last column.
        """
        self.sequence[:, :, self.next_column] = column
        if logits is not None:
            self.cache.advance(1)
            self.logits = logits
        self.next_column += 1
        self.steps_done += 1

    def is_finite(self) -> bool:
        """Return whether all logits so far were finite. Waits for the device."""
        finite = self._finite if self.lease is None else self._finite & self.lease.read_finite()
        return bool(finite.item())

    def read_codes(self, done: int | None = None) -> Codes:
        """Return the complete frames (clips, codebooks, frames).

        `done`: count only the first `done` steps (None: all so far).
        """
        known = self.first_column + (self.steps_done if done is None else done)
        sequence = self.sequence if self.lease is None else self.lease.read_sequence()
        return self._pattern.revert(sequence[:, :, :known].cpu().numpy())

    def _embed_past(self) -> Tensor:
        """Embed the prefix and the known columns, without positions."""
        x = self.decoder.embed(self._expand_rows(self.sequence[:, :, : self.first_column]))
        prefix = self.conditioning.prefix
        return x if prefix is None else torch.cat([prefix, x], dim=1)

    def _expand_rows(self, tokens: Tensor) -> Tensor:
        """Append the columns of the rows of guidance to `tokens` (clips, codebooks, length)."""
        if not len(self.guided):
            return tokens
        return torch.cat([tokens, tokens[self.guided], tokens[self._styled]])

    def apply_guidance(self) -> Tensor:
        """Return the guided logits (clips, codebooks, vocabulary)."""
        clips = self.conditioning.clips
        guided = self.logits[:clips]
        if not len(self.guided):
            return guided
        unconditional, heard = torch.split(
            self.logits[clips:], [len(self.guided), len(self._styled)]
        )
        if len(self._styled):
            apart = guide_apart(guided[self._styled], heard, self._text_guidance)
            guided = guided.index_copy(0, self._styled, apart)
        mixed = guide_logits(guided[self.guided], unconditional, self.guidance_scale)
        return guided.index_copy(0, self.guided, mixed)

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
        # A padded step attends to itself, because no row of the softmax may be empty.
        present = (columns >= padding[:, None, None]) | (columns == columns[start:, None])
        return (causal & present)[:, None]


@torch.inference_mode()
def step_batch(states: Sequence[DecodeState]) -> None:
    """Run one step of each of `states`, which share a decoder, in one forward pass.

    A failure leaves every state unchanged, so each may be stepped again.
    """
    columns = _sample_columns(states)
    # The last column needs no prediction after it.
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
    """Sample the next column (clips, codebooks) of each state in one call.

    Many small sampling calls would cost more than the batched decoder saves.
    """
    guided = [state.apply_guidance() for state in states]
    tokens = sample_tokens(
        torch.cat(guided),
        SamplingTensors.cat([state.sampling for state in states]),
        SamplerFeatures.cat([state.sampler_features for state in states]),
        torch.cat([state.draws[:, state.steps_done] for state in states]),
    )
    parts = torch.split(tokens, [len(logits) for logits in guided])
    return [
        state.fill_known(logits, part)
        for state, logits, part in zip(states, guided, parts, strict=True)
    ]
