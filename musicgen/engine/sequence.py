"""One job across its windows: known codes, conditioning, and collection of results."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from musicgen.engine.conditioning import Conditioning, build_conditioning, build_span_rows
from musicgen.engine.decode_state import DecodeState, SlotPool
from musicgen.engine.device_thread import DeviceThread
from musicgen.engine.interface import GenerationJob, Pcm, plan_job
from musicgen.engine.sampling import UniformDraws
from musicgen.engine.windows import Window
from musicgen.model.chroma import compute_chroma
from musicgen.model.config import MusicGenConfig
from musicgen.model.encodec import encode_channels
from musicgen.model.musicgen import MusicGen
from musicgen.model.tokenizer import Tokenize
from musicgen.process.stopwatch import Stopwatch
from musicgen.result import Timings

PREFILL_COLUMNS = {"cpu": 64}
"""Columns per prefill call on a CPU, so other jobs run in between."""


class JobRun:
    """Run of one job: prepares its windows for decoding and collects their codes.

    `codes`: (clips, codebooks, frames), of which the first `known` frames are known.
    """

    def __init__(
        self, model: MusicGen, tokenize: Tokenize, job: GenerationJob, thread: DeviceThread
    ) -> None:
        self._model, self._tokenize, self._job, self._run = model, tokenize, job, thread.run
        self.windows = plan_job(job, model.config)
        self.timings = Timings()
        self._draws = UniformDraws([row.seed for row in job.rows])
        self._cached: tuple[int, int, Conditioning] | None = None
        watch = Stopwatch()
        self.codes, self.known = self._run(_prepare_codes, model, job)
        self.timings.audio_prompt = watch.lap()

    @torch.inference_mode()
    def start_window(self, window: Window, slots: SlotPool | None) -> DecodeState:
        """Return the prefilled decode state of a window."""
        watch = Stopwatch()
        conditioning = self._get_conditioning(window)
        self.timings.text += watch.lap()
        known = self.codes[:, :, window.start : window.start + window.context]
        state = DecodeState(
            self._model.decoder,
            self._job.rows,
            window.length,
            conditioning,
            known,
            self._draws,
            slots=slots,
        )
        max_columns = PREFILL_COLUMNS.get(self._model.device.type)
        while not self._run(state.prefill, max_columns):
            pass
        return state

    @torch.inference_mode()
    def collect(self, window: Window, state: DecodeState, done: int) -> None:
        """Copy the frames complete after `done` steps of a window."""
        complete = state.read_codes(done)
        end = window.start + complete.shape[2]
        if end > self.known:
            new = end - self.known
            self.codes[:, :, self.known : end] = complete[:, :, -new:]
            self.known = end

    def _get_conditioning(self, window: Window) -> Conditioning:
        """Return the conditioning of a window's prompt span; a melody advances by window."""
        place = (window.span, window.start if self._job.melody is not None else 0)
        if self._cached is None or self._cached[:2] != place:
            conditioning = self._run(
                _encode_conditioning, self._model, self._tokenize, self._job, window
            )
            self._cached = (*place, conditioning)
        return self._cached[2]


@torch.inference_mode()
def _prepare_codes(model: MusicGen, job: GenerationJob) -> tuple[Tensor, int]:
    """Allocate the codes of all clips, fill in the audio prompt, and count its frames."""
    shape = (len(job.rows), model.config.decoder.codebooks, job.frames)
    codes = torch.zeros(shape, dtype=torch.int64, device=model.device)
    if job.known_codes is not None:
        known = job.known_codes.shape[1]
        codes[:, :, :known] = torch.from_numpy(job.known_codes)
        return codes, known
    if job.audio_prompt is None:
        return codes, 0
    waveform = torch.from_numpy(np.ascontiguousarray(job.audio_prompt.T))
    prompt = encode_channels(model.codec, waveform[None].to(model.device))[0]
    codes[:, :, : prompt.shape[1]] = prompt
    return codes, prompt.shape[1]


@torch.inference_mode()
def _encode_conditioning(
    model: MusicGen, tokenize: Tokenize, job: GenerationJob, window: Window
) -> Conditioning:
    chroma = None
    if job.melody is not None:
        melody = select_melody(job, window, model.config)
        chroma = compute_chroma(torch.from_numpy(melody), model.config)
    return build_conditioning(model, tokenize, build_span_rows(job)[window.span], chroma)


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
