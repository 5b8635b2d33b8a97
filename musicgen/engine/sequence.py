"""One job across its windows: known codes, conditioning, and collection of results."""

from __future__ import annotations

from typing import Any

import numpy as np

from musicgen.engine.backend import Backend, Codes, WindowState
from musicgen.engine.device_thread import DeviceThread
from musicgen.engine.interface import GenerationJob, Pcm, plan_job
from musicgen.engine.job_rows import build_span_rows
from musicgen.engine.windows import Window
from musicgen.model.config import MusicGenConfig
from musicgen.model.native.draws import NumpyDraws
from musicgen.process.stopwatch import Stopwatch
from musicgen.result import Timings

PREFILL_COLUMNS = {"cpu": 64}
"""Columns per prefill call on a CPU, so other jobs run in between."""


class JobRun:
    """Run of one job: prepares its windows for decoding and collects their codes.

    `codes`: (clips, codebooks, frames), of which the first `known` frames are known.
    """

    def __init__(self, backend: Backend, job: GenerationJob, thread: DeviceThread) -> None:
        self._backend, self._job, self._run = backend, job, thread.run
        self.windows = plan_job(job, backend.config)
        self.timings = Timings()
        self._draws = NumpyDraws([row.seed for row in job.rows])
        self._cached: tuple[int, int, Any] | None = None
        watch = Stopwatch()
        self.codes, self.known = self._prepare_codes()
        self.timings.audio_prompt = watch.lap()

    def start_window(self, window: Window) -> WindowState:
        """Return the prefilled decode state of a window."""
        watch = Stopwatch()
        conditioning = self._get_conditioning(window)
        self.timings.text += watch.lap()
        known = self.codes[:, :, window.start : window.start + window.context]
        state = self._backend.start_window(
            self._job.rows, window.length, conditioning, known, self._draws
        )
        max_columns = PREFILL_COLUMNS.get(self._backend.device)
        while not self._run(state.prefill, max_columns):
            pass
        self._backend.admit(state)
        return state

    def collect(self, window: Window, state: WindowState, done: int) -> None:
        """Copy the frames complete after `done` steps of a window."""
        complete = state.read_codes(done)
        end = window.start + complete.shape[2]
        if end > self.known:
            new = end - self.known
            self.codes[:, :, self.known : end] = complete[:, :, -new:]
            self.known = end

    def _prepare_codes(self) -> tuple[Codes, int]:
        """Allocate the codes of all clips, fill in the audio prompt, and count its frames."""
        job = self._job
        shape = (len(job.rows), self._backend.config.decoder.codebooks, job.frames)
        codes = np.zeros(shape, np.int64)
        known = job.known_codes
        if known is None and job.audio_prompt is not None:
            known = self._run(self._backend.encode_audio, job.audio_prompt)
        if known is None:
            return codes, 0
        codes[:, :, : known.shape[1]] = known
        return codes, known.shape[1]

    def _get_conditioning(self, window: Window) -> Any:
        """Return the conditioning of a window's prompt span.

        A melody advances by window, a style is the same in all of them.
        """
        has_melody = self._job.melody is not None
        place = (window.span, window.start if has_melody else 0)
        if self._cached is None or self._cached[:2] != place:
            melody = None
            if has_melody:
                melody = select_melody(self._job, window, self._backend.config)
            rows = build_span_rows(self._job)[window.span]
            conditioning = self._run(
                self._backend.build_conditioning, rows, melody, self._job.style
            )
            self._cached = (*place, conditioning)
        return self._cached[2]


def select_melody(job: GenerationJob, window: Window, config: MusicGenConfig) -> Pcm:
    """Return the samples of a job's melody for one window.

    A clip of one window hears the whole melody, and `MusicGen.encode_chroma` fits its chroma to the
    window. A longer clip repeats the samples instead. Source: `_generate_tokens` of audiocraft.
    """
    assert job.melody is not None
    if job.frames <= config.window_frames and window.start == 0:
        return job.melody
    hop = config.codec.hop_length
    return repeat_melody(job.melody, window.start * hop, config.window_frames * hop)


def repeat_melody(melody: Pcm, start: int, length: int) -> Pcm:
    """Return `length` samples of an endlessly repeated melody, from sample `start` on."""
    return np.take(melody, range(start, start + length), axis=0, mode="wrap")
