"""Conditioning and decode state of one window in the native library. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from musicgen.model.native.generation import Codes, NativeDecoderModel, PromptKeys
from musicgen.model.native.generation_bindings import NativeJob, NativeSampling
from musicgen.model.native.kv_cache import KvCache
from musicgen.model.native.library import NativeRow
from musicgen.model.native.product import Floats


class ClipSampling(Protocol):
    """Sampling parameters of one clip, as in `musicgen.request.SamplingParams`."""

    @property
    def temperature(self) -> float:
        """Temperature; 0 is greedy."""
        ...

    @property
    def top_k(self) -> int:
        """Number of likeliest tokens to keep; 0 keeps all."""
        ...

    @property
    def top_p(self) -> float:
        """Probability to keep; above 0 it overrides `top_k`."""
        ...

    @property
    def guidance(self) -> float:
        """Scale of classifier-free guidance."""
        ...


@dataclass(frozen=True)
class NativeConditioning:
    """Conditioning of all decoder rows: one row per clip, then the unconditional rows.

    `guided`: indices of the clips with an unconditional row, in the order of those rows. `prompts`:
    keys and values of each row; None without a prompt. `prefix`: (rows, length, hidden) or None.
    `padding`: (rows,) masked prefix steps on the left.
    """

    clips: int
    guided: tuple[int, ...]
    prompts: tuple[PromptKeys | None, ...]
    prefix: Floats | None = None
    padding: tuple[int, ...] | None = None

    @property
    def rows(self) -> int:
        """Number of decoder rows."""
        return self.clips + len(self.guided)

    @property
    def prefix_length(self) -> int:
        """Number of prefix steps, padding included."""
        return 0 if self.prefix is None else self.prefix.shape[1]


class NativeDecodeState:
    """Delayed sequence of one window, filled step by step for all clips of a job.

    `sequence`: (clips, codebooks, length), int64; tokens to decode are `UNKNOWN` and start at
    `first_column`. `draws`: (clips, length - first_column, codebooks), float64. `prefill` runs the
    decoder over everything known; `step_windows` then samples column by column. One
    thread may step while another reads the sequence.
    """

    def __init__(
        self,
        model: NativeDecoderModel,
        sampling: Sequence[ClipSampling],
        conditioning: NativeConditioning,
        sequence: Codes,
        first_column: int,
        draws: NDArray[np.float64],
    ) -> None:
        clips, books, length = sequence.shape
        expected = (clips, length - first_column, books)
        if draws.shape != expected or len(sampling) != clips or conditioning.clips != clips:
            raise ValueError(f"draws must have the shape {expected} (was {draws.shape})")
        self.model, self.conditioning = model, conditioning
        self.sequence = np.array(sequence, np.int64, order="C")
        """Delayed sequence (clips, codebooks, length), filled in place."""
        self.first_column, self.total_steps = first_column, length - first_column
        config, rows = model.config, conditioning.rows
        capacity = conditioning.prefix_length + length - 1
        shape = (rows, config.layers, config.heads, capacity, config.head_dim)
        known = conditioning.prefix_length + first_column
        self._cache = KvCache(shape, known, model.cache_form)
        self._positions = model.build_positions(capacity)
        self._padding = np.array(conditioning.padding or [0] * rows, np.int32)
        self._logits = np.zeros((rows, books, config.vocab_size), np.float32)
        self._draws = np.array(draws, np.float64, order="C")
        self._guided = np.array(conditioning.guided, np.int32)
        scales = [sampling[i].guidance for i in conditioning.guided]
        self._guidance = np.array(scales, np.float32)
        self._sampling = (NativeSampling * clips)(
            *(
                NativeSampling(clip.top_p, clip.temperature, min(clip.top_k, config.vocab_size))
                for clip in sampling
            )
        )
        self._rows = (NativeRow * rows)(*(self._describe_row(index) for index in range(rows)))
        self.job = self._describe_job()
        """The native struct, which counts the steps."""
        self._pending = self._embed_past()

    def prefill(self, max_columns: int | None = None) -> bool:
        """Run the decoder over `max_columns` pending columns (None: all).

        Returns: whether no column is left.
        """
        hidden = self._run_pending(max_columns)
        if self._pending.shape[1]:
            return False
        self._logits[:] = self.model.compute_logits(hidden[:, -1])
        return True

    def make_room(self) -> None:
        """Let the cache grow if the next step finds no room. A failure leaves it as it was."""
        if self.job.position < self._cache.columns or not self._has_column():
            return
        self._cache.grow()
        for index in range(self.rows):
            self._rows[index] = self._describe_row(index)

    def _has_column(self) -> bool:
        """Whether the next step adds a column; the last one only samples."""
        return bool(self.job.next_column + 1 < self.job.length)

    def run_past(self) -> Floats:
        """Run the decoder over everything known, in place of `prefill`.

        Returns: the hidden states after each column (rows, prefix and columns, hidden).
        """
        return self._run_pending(None)

    def _run_pending(self, max_columns: int | None) -> Floats:
        x = self._pending[:, :max_columns]
        start, length = self.job.position, x.shape[1]
        columns = np.arange(start, start + length)
        x = x + self._positions[np.maximum(columns - self._padding[:, None], 0)]
        for row in self._rows:
            row.position = start
        hidden = self.model.run_columns(x, list(self._rows), self._padding.tolist())
        self._pending = self._pending[:, length:]
        self.job.position = start + length
        return hidden

    @property
    def rows(self) -> int:
        """Number of decoder rows: clips, and the unconditional rows of guided clips."""
        return self.conditioning.rows

    @property
    def steps_done(self) -> int:
        """Number of steps so far."""
        return int(self.job.next_column) - self.first_column

    @property
    def logits(self) -> Floats:
        """Logits of the next column (rows, codebooks, vocabulary), before guidance."""
        return self._logits

    def is_finite(self) -> bool:
        """Return whether all logits so far were finite."""
        return bool(self.job.finite)

    def _embed_past(self) -> Floats:
        """Embed the prefix and the known columns, without positions."""
        known = self.sequence[:, :, : self.first_column]
        x = self.model.embed(np.concatenate([known, known[self._guided]]))
        prefix = self.conditioning.prefix
        return x if prefix is None else np.concatenate([prefix, x], axis=1)

    def _describe_row(self, index: int) -> NativeRow:
        keys, values = self._cache.keys[index], self._cache.values[index]
        row = NativeRow(keys.ctypes.data, values.ctypes.data, *_count_strides(keys))
        prompt = self.conditioning.prompts[index]
        if prompt is not None:
            row.cross_keys = prompt.keys.ctypes.data
            row.cross_values = prompt.values.ctypes.data
            row.cross_layer_stride, row.cross_head_stride = _count_strides(prompt.keys)
            row.cross_length = prompt.keys.shape[2]
        return row

    def _describe_job(self) -> NativeJob:
        return NativeJob(
            clips=self.conditioning.clips,
            guided=len(self._guided),
            length=self.sequence.shape[2],
            first_column=self.first_column,
            guided_clips=self._guided.ctypes.data,
            guidance=self._guidance.ctypes.data,
            sampling=self._sampling,
            draws=self._draws.ctypes.data,
            sequence=self.sequence.ctypes.data,
            logits=self._logits.ctypes.data,
            positions=self._positions.ctypes.data,
            padding=self._padding.ctypes.data,
            rows=self._rows,
            next_column=self.first_column,
            position=0,
            finite=1,
        )


def _count_strides(keys: NDArray[Any]) -> tuple[int, int]:
    """Return the numbers from one layer to the next, and from one head to the next."""
    return keys.strides[0] // keys.itemsize, keys.strides[1] // keys.itemsize


def step_windows(states: Sequence[NativeDecodeState]) -> None:
    """Run one step of each of `states`, which share a model, in one native call.

    A failure leaves every state unchanged, so each may be stepped again.
    """
    for state in states:
        state.make_room()
    states[0].model.step([state.job for state in states])
