"""Rows of a batch at fixed addresses, and a decode step without host synchronisation.

A step on a GPU consists of hundreds of small kernels with launch times longer than their run times.
A CUDA graph launches them all at once, but only with the same shapes at the same addresses. Every
row therefore has a slot with its part of the KV cache, its sequence, its sampling parameters and
its counters, all on the device. A step runs over the slots up to the last one in use. A mask on the
device selects the active rows; the others stay unchanged.

The step is ordinary PyTorch: `graphs` captures it, and without a GPU it runs eagerly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from musicgen.engine.pytorch.conditioning import Conditioning
from musicgen.engine.pytorch.cuda.cache import SlotCache
from musicgen.engine.pytorch.cuda.fused import FusedLayers
from musicgen.engine.pytorch.cuda.kernels.twins import ColumnState
from musicgen.engine.pytorch.cuda.layers import KeysValues, RowPositions, SlotLayers
from musicgen.engine.pytorch.decode_state import DecodeState
from musicgen.engine.pytorch.sampling import (
    SamplerFeatures,
    SamplingTensors,
    guide_logits,
    sample_tokens,
)
from musicgen.model.config import DecoderConfig
from musicgen.model.decoder import CrossAttentionCache, Decoder, build_sinusoidal_positions
from musicgen.model.delay_pattern import UNKNOWN
from musicgen.model.layers import build_additive_mask
from musicgen.model.upload import upload


@dataclass(frozen=True)
class StepShape:
    """Static shape of a captured step: rows, cache length, prompt tokens, and sampling features."""

    rows: int
    length: int
    tokens: int
    features: SamplerFeatures


class RowSlots:
    """`rows` slots with a KV cache of `capacity` steps and prompts of up to `tokens` tokens.

    `compiled`: run the layers through torch.compile. `fused`: run these layers and their kernels,
    with the KV cache in the form of these.
    """

    def __init__(
        self,
        decoder: Decoder,
        rows: int,
        capacity: int,
        tokens: int,
        *,
        compiled: bool = False,
        fused: FusedLayers | None = None,
    ) -> None:
        config, device = decoder.config, decoder.embeddings.device
        dtype = decoder.embeddings.dtype
        self.decoder, self.rows, self.capacity, self.tokens = decoder, rows, capacity, tokens
        self._layers = SlotLayers(decoder, compiled=compiled)
        self._fused, books = fused, config.codebooks

        def zeros(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        form = "" if fused is None else fused.kernels.kv_cache
        self.cache = SlotCache(config, rows, capacity, dtype, device, form=form)
        prompt = (config.layers, rows, config.heads, tokens, config.head_dim)
        if config.cross_attention:
            self.cross_keys, self.cross_values = (zeros(*prompt, dtype=dtype) for _ in range(2))
        # A softmax over no token would be no number, also in rows that nobody reads.
        self.cross_length, self._no_padding = zeros(rows) + 1, zeros(rows)
        self.positions = build_sinusoidal_positions(capacity, config.hidden_size).to(device, dtype)
        self.sequence = zeros(rows, books, capacity)
        self.draws = zeros(rows, capacity, books, dtype=torch.float64)
        self.logits = zeros(rows, books, config.vocab_size, dtype=torch.float32)
        self.sampler = SamplingTensors(
            greedy=zeros(rows, 1, 1, dtype=torch.bool),
            temperature=zeros(rows, 1, 1, dtype=torch.float32) + 1,
            top_k=zeros(rows, 1, 1),
            top_p=zeros(rows, 1, 1, dtype=torch.float64),
        )
        self.scale = zeros(rows, 1, 1, dtype=torch.float32) + 1
        # A clip's row samples; its unconditional row takes the same tokens from `source`.
        # Numbers from 0, as each step needs them: of the rows, the cache columns, the tokens.
        self._numbers = torch.arange(max(rows, capacity, tokens), device=device)
        self.source = torch.arange(rows, device=device)
        self.unconditional = torch.arange(rows, device=device)
        self._counters, self.padding = zeros(3, rows), zeros(rows)
        self.column, self.length, self.step_number = self._counters
        self.active, self.finite = (zeros(rows, dtype=torch.bool) for _ in range(2))
        self._column_state = ColumnState(
            *(self.active, self.source, self.column, self.length, self.padding, self.sequence),
            *(self.finite, decoder.embeddings, self.positions),
        )

    @staticmethod
    def compute_row_bytes(
        config: DecoderConfig, capacity: int, tokens: int, size: int, kv_cache: str = ""
    ) -> int:
        """Return the bytes of one slot's keys and values, at `size` bytes per value.

        `kv_cache`: form of the cache, "" or "int8". Prompts always have `size` bytes per value.
        """
        own = SlotCache.compute_slot_bytes(config, capacity, size, kv_cache)
        if not config.cross_attention:
            return own
        return own + SlotCache.compute_slot_bytes(config, tokens, size)

    def round_length(self, longest: int, bucket: int) -> int:
        """Return the cache length of a step. Kernels take all and read the live part alone."""
        if self._fused is not None:
            return self.capacity
        return min(-(-longest // bucket) * bucket, self.capacity)

    def can_hold(self, conditioning: Conditioning, length: int, capacity: int) -> bool:
        """Return whether a job fits into the slots."""
        cross = conditioning.cross
        tokens = 0 if cross is None else cross.keys.shape[3]
        # The slots know one row of guidance for each clip.
        return (
            not conditioning.styled
            and conditioning.rows <= self.rows
            and max(length, capacity) <= self.capacity
            and tokens <= self.tokens
        )

    def admit(self, state: DecodeState, rows: Sequence[int]) -> RowLease:
        """Copy a prefilled job into the slots `rows`."""
        clips = state.conditioning.clips
        slots = upload(rows, self.sequence.device, torch.int64)
        self._copy_cache(state, slots)
        self._copy_prompt(state.conditioning.cross, slots)
        sources = [rows[clip] for clip in (*range(clips), *state.conditioning.guided)]
        self.source[slots] = upload(sources, slots.device, torch.int64)
        self.unconditional[slots] = slots
        self.scale[slots] = 1.0
        guided = slots.index_select(0, state.guided)
        self.unconditional[guided] = slots[clips:]
        self.scale[guided] = state.guidance_scale.float()
        own = slots[:clips]
        self.draws[own, : state.total_steps] = state.draws
        for field in fields(SamplingTensors):
            getattr(self.sampler, field.name)[own] = getattr(state.sampling, field.name)
        self.step_number[slots] = state.steps_done
        self.finite[slots] = True
        return RowLease(self, own, state.sequence.shape[2])

    def _copy_cache(self, state: DecodeState, slots: Tensor) -> None:
        length, clips = state.cache.length, state.conditioning.clips
        past = state.cache.keys[:, :, :, :length], state.cache.values[:, :, :, :length]
        self.cache.store(slots, *past)
        padding = state.conditioning.padding
        self.padding[slots] = 0 if padding is None else padding
        self.length[slots], self.column[slots] = length, state.next_column
        self.sequence[slots] = 0
        self.sequence[slots[:clips], :, : state.sequence.shape[2]] = state.sequence
        self.logits[slots] = state.logits

    def _copy_prompt(self, cross: CrossAttentionCache | None, slots: Tensor) -> None:
        """Copy the cross-attention cache.

        Rows without a prompt get zeros; those have no effect on the result.
        """
        if not self.decoder.config.cross_attention:
            return
        self.cross_keys[:, slots], self.cross_values[:, slots] = 0, 0
        self.cross_length[slots] = 1
        if cross is not None:
            own, tokens = slots[: cross.rows], cross.keys.shape[3]
            self.cross_keys[:, own, :, :tokens] = cross.keys
            self.cross_values[:, own, :, :tokens] = cross.values
            self.cross_length[own] = upload(cross.lengths, own.device, torch.int64)

    def step(self, shape: StepShape) -> None:
        """Sample the next column of every active row and predict the one after it."""
        first = slice(shape.rows)
        active = self.active[first]
        logits = self.logits[first]
        # A free slot may still refer to a row outside this shape.
        unconditional = self.unconditional[first].clamp(max=shape.rows - 1)
        tokens, finite = self._sample(logits, unconditional, shape)
        if self._fused is None:
            self.finite[first].logical_and_(finite.all(1) | ~active)
            predicted = self._predict(self._store_column(tokens, shape), shape)
        else:
            predicted = self._predict_fused(self._fused, tokens, finite, shape)
        torch.where(active[:, None, None], predicted, logits, out=logits)
        self._counters[:, first].add_(active)

    def _sample(
        self, logits: Tensor, unconditional: Tensor, shape: StepShape
    ) -> tuple[Tensor, Tensor]:
        """Return the next tokens, and whether the guided logits are finite: (rows, codebooks)."""
        first, books = slice(shape.rows), self.sequence.shape[1]
        number = self.step_number[first].clamp(max=self.capacity - 1)
        uniform = self.draws[first].gather(1, number[:, None, None].expand(-1, 1, books))[:, 0]
        sampler = SamplingTensors(
            **{f.name: getattr(self.sampler, f.name)[first] for f in fields(SamplingTensors)}
        )
        scale, features = self.scale[first], shape.features
        if self._fused is not None and not features.top_p:
            return self._fused.kernels.sample(logits, unconditional, scale, sampler, uniform)
        guided = guide_logits(logits, logits[unconditional], scale)
        tokens = sample_tokens(guided, sampler, features, uniform)
        return tokens, guided.isfinite().all(-1)

    def _store_column(self, tokens: Tensor, shape: StepShape) -> Tensor:
        """Return the next column (rows, codebooks), stored in the sequences of active rows."""
        first, books = slice(shape.rows), self.sequence.shape[1]
        index = self.column[first].clamp(max=self.capacity - 1)[:, None, None].expand(-1, books, 1)
        known = self.sequence[first].gather(2, index)[..., 0]
        column = torch.where(known == UNKNOWN, tokens, known)
        updated = torch.where(self.active[first, None], column, known)
        self.sequence[first].scatter_(2, index, updated[..., None])
        return column[self.source[first].clamp(max=shape.rows - 1)]

    def _select_positions(self, first: slice) -> Tensor:
        steps = (self.length[first] - self.padding[first]).clamp(0, self.capacity - 1)
        return self.positions[steps][:, None]

    def _predict(self, tokens: Tensor, shape: StepShape) -> Tensor:
        """Return logits (rows, codebooks, vocabulary) after the column `tokens`.

        Each row attends to its own past.
        """
        first = slice(shape.rows)
        x = self.decoder.embed(tokens[:, :, None]) + self._select_positions(first)
        column, prompt_mask = self.length[first].clamp(max=shape.length - 1), None
        cache, prompts = self.cache.select(shape.rows, shape.length), self._select_prompts(shape)
        if prompts is not None:
            allowed = self._numbers[: shape.tokens] < self.cross_length[first, None]
            prompt_mask = build_additive_mask(allowed[:, None, None], x.dtype)
        mask = self._build_mask(column, shape, x.dtype)
        positions = RowPositions(self._numbers[first], column, mask, prompt_mask)
        hidden = self.decoder.norm(self._layers(x, positions, cache, prompts))
        return self.decoder.compute_logits(hidden[:, -1])

    def _predict_fused(
        self, fused: FusedLayers, tokens: Tensor, finite: Tensor, shape: StepShape
    ) -> Tensor:
        """Store `tokens` and return the logits after them, by kernels."""
        place = fused.kernels.place_column
        x, *live = place(self._column_state, tokens, finite, shape.length)
        first = slice(shape.rows)
        part = shape.rows, shape.length
        predicted = fused(
            x,
            (live[0], live[1]),
            self.cache.select(*part),
            self._select_prompts(shape),
            (self._no_padding[first], self.cross_length[first]),
            self.cache.select_factors(*part),
        )
        return predicted.view_as(self.logits[first])

    def _select_prompts(self, shape: StepShape) -> KeysValues | None:
        """Return the part of the cross-attention cache that a step of `shape` reads."""
        if not self.decoder.config.cross_attention:
            return None
        first, width = slice(shape.rows), slice(shape.tokens)
        return self.cross_keys[:, first, :, width], self.cross_values[:, first, :, width]

    def _build_mask(self, column: Tensor, shape: StepShape, dtype: torch.dtype) -> Tensor:
        """Return the additive mask (rows, 1, 1, length) of the rows' own steps."""
        steps, own = self._numbers[: shape.length], column[:, None]
        # A row attends to itself even in its padding, because no softmax may be empty.
        mask = (steps <= own) & (steps >= self.padding[: shape.rows, None]) | (steps == own)
        return build_additive_mask(mask[:, None, None], dtype)


class RowLease:
    """Slots `rows` of one job's clips."""

    def __init__(self, slots: RowSlots, rows: Tensor, length: int) -> None:
        self._slots, self._rows, self._length = slots, rows, length

    def read_sequence(self) -> Tensor:
        """Return a copy of the delayed sequence (clips, codebooks, length)."""
        return self._slots.sequence[self._rows, :, : self._length]

    def read_finite(self) -> Tensor:
        """Return a scalar tensor: whether all logits so far were finite."""
        return self._slots.finite[self._rows].all()
