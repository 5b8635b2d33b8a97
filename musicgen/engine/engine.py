"""The engine of this project: jobs of several threads, decoded together by a backend."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicgen.engine.audio_output import StreamDecoder, decode_waveform, diffuse
from musicgen.engine.backend import Backend
from musicgen.engine.batch import CLOSED, Batch, Ticket
from musicgen.engine.device_thread import DeviceThread
from musicgen.engine.interface import (
    DecodeProgress,
    EngineOutput,
    GenerationJob,
    Pcm,
    check_job,
    plan_job,
)
from musicgen.engine.job_rows import count_decoder_rows
from musicgen.engine.sequence import JobRun
from musicgen.engine.windows import Window
from musicgen.errors import NonFiniteLogits
from musicgen.model.config import MusicGenConfig
from musicgen.model.delay_pattern import DelayPattern
from musicgen.process.stopwatch import Stopwatch

# On a GPU, reading the flag waits for the step, so only some steps read it.
FINITE_CHECK_INTERVAL_ON_GPU = 25
# Half a second of audio per piece of a stream.
STREAM_STEPS = 25
BATCH_ROWS = 16
MAX_WAITING = 64
QUEUE_INTERVAL_SECONDS = 0.2
STEPS_INTERVAL_SECONDS = 0.1
"""Longest time between two reports of progress while steps are done."""


class MusicGenEngine:
    """One loaded checkpoint, with continuous batching of jobs from several threads.

    Jobs join and leave the batch between steps. Only rounding distinguishes a job in a batch from
    the same job alone.

    `precision`: float32 is the reference. bfloat16 stores the decoder in 16 bits: bfloat16
    throughout on a GPU, float16 weights with float32 arithmetic on an x86 CPU. int8 (CPU only)
    multiplies 8-bit weights by 8-bit activations.
    """

    name = "musicgen"

    def __init__(
        self, backend: Backend, *, rows: int = BATCH_ROWS, max_waiting: int = MAX_WAITING
    ) -> None:
        self.config: MusicGenConfig = backend.config
        self.device = backend.device
        self.precision = backend.precision
        self.has_diffusion = backend.has_diffusion
        self._backend: Backend | None = backend
        self._thread = DeviceThread(self.device)
        self._batch = Batch(
            self._translate_errors, rows, max_waiting, self._step, self._thread.start
        )

    @property
    def backend(self) -> Backend:
        """The loaded checkpoint. Raises: `RuntimeError` when the engine is closed."""
        if self._backend is None:
            raise RuntimeError(CLOSED)
        return self._backend

    @cached_property
    def codec_fingerprint(self) -> str | None:
        """Fingerprint of the codec, to recognise saved tokens of the same codec."""
        return self.backend.compute_fingerprint()

    def generate(self, job: GenerationJob) -> Generator[DecodeProgress, None, EngineOutput]:
        """Run a job: `Engine.generate`."""
        backend = self.backend
        check_job(job, self.config)
        watch = Stopwatch()
        steps = sum(_count_steps(window, self.config) for window in plan_job(job, self.config))
        total, diffusion = steps, None
        if job.diffusion is not None:
            diffusion = backend.open_diffusion(job.diffusion)
            total += len(job.rows) * diffusion.count_steps(job.frames)
            watch.lap()
        is_live = job.stream and diffusion is None
        with self._batch.reserve(count_decoder_rows(job)) as ticket:
            while not self._batch.wait_for_turn(ticket, QUEUE_INTERVAL_SECONDS):
                yield DecodeProgress(0, total)
            waiting = watch.lap()
            with backend.translate_errors():
                run = JobRun(backend, job, self._thread)
                stream = StreamDecoder(backend, len(job.rows), self._thread) if is_live else None
            done = 0
            for window in run.windows:
                for decoded in self._decode_window(ticket, run, window, stream):
                    yield replace(decoded, done=done + decoded.done, total=total)
                done += _count_steps(window, self.config)
        timings = replace(run.timings, waiting=waiting)
        timings.decode = watch.lap() - timings.text - timings.audio_prompt
        if diffusion is not None:
            made = diffuse(backend, diffusion, job, run.codes, self._thread)
            pcm = yield from _count_on(made, steps, total)
            timings.codec = watch.lap()
            if job.stream:
                # The clip is complete only at the end, so a stream has a single piece.
                yield DecodeProgress(total, total, pcm=pcm)
            return EngineOutput(run.codes, pcm, steps, timings)
        with backend.translate_errors():
            if stream is not None:
                timings.codec, pcm = stream.seconds, stream.concatenate()
                timings.decode -= timings.codec
            else:
                pcm = tuple(decode_waveform(backend, row, self._thread) for row in run.codes)
                timings.codec = watch.lap()
            return EngineOutput(run.codes, pcm, steps, timings)

    def _translate_errors(self) -> AbstractContextManager[None]:
        return self.backend.translate_errors()

    def _step(self, states: Sequence[Any]) -> None:
        self.backend.step(states)

    def _decode_window(
        self, ticket: Ticket, run: JobRun, window: Window, stream: StreamDecoder | None
    ) -> Iterator[DecodeProgress]:
        """Decode all steps of one window as part of the batch."""
        backend = self.backend
        with backend.translate_errors():
            state = run.start_window(window)
        try:
            self._batch.submit(ticket, state)
            done, steps = 0, state.total_steps
            while done < steps:
                wanted = min(steps, done - done % STREAM_STEPS + STREAM_STEPS)
                done = self._batch.wait_for_steps(ticket, wanted, STEPS_INTERVAL_SECONDS)
                is_last = done == steps
                with backend.translate_errors():
                    is_due = stream is not None and (is_last or done % STREAM_STEPS == 0)
                    is_checked = is_due or self._is_check_due(done, steps)
                    if is_checked and not state.is_finite():
                        raise NonFiniteLogits(done, self.precision)
                    if is_due or is_last:
                        run.collect(window, state, done)
                    pcm = stream.decode_new(run) if stream and is_due else ()
                yield DecodeProgress(done, steps, pcm=pcm)
        finally:
            backend.release(state)
            self._batch.clear(ticket)

    def negative_log_likelihood(self, prompt: str, pcm: Pcm) -> NDArray[np.float64]:
        """Return the nats per token of the clip `pcm`, by codebook.

        Raises: `MissingDependency` for a backend without it.
        """
        with self.backend.translate_errors():
            return self.backend.measure_likelihood(prompt, pcm)

    def close(self) -> None:
        """Free the weights; running jobs end with an error."""
        self._batch.close()
        self._thread.close()
        self._backend = None

    def _is_check_due(self, done: int, steps: int) -> bool:
        on_cpu = self.device == "cpu"
        return on_cpu or done == steps or done % FINITE_CHECK_INTERVAL_ON_GPU == 0


def _count_on(
    made: Generator[DecodeProgress, None, tuple[Pcm, ...]], done: int, total: int
) -> Generator[DecodeProgress, None, tuple[Pcm, ...]]:
    """Yield the steps of `made` as steps after `done` of `total`."""
    with closing(made):
        while True:
            try:
                progress = next(made)
            except StopIteration as end:
                pcm: tuple[Pcm, ...] = end.value
                return pcm
            yield DecodeProgress(done + progress.done, total)


def _count_steps(window: Window, config: MusicGenConfig) -> int:
    """Return the decoder steps of a window: its new frames and the delay of the last codebook."""
    decoder = config.decoder
    return window.new_frames + DelayPattern(decoder.codebooks, decoder.channels, 0).delays[-1]
