"""One job from its first window to its last: what is known of its clips so far."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from musicgen.engine.conditioning import Conditioning, condition, rows_of
from musicgen.engine.decode_state import DecodeState, Slots
from musicgen.engine.device_thread import DeviceThread
from musicgen.engine.interface import GenerationJob, Pcm, plan_of
from musicgen.engine.sampling import Draws
from musicgen.engine.windows import Window
from musicgen.model.chroma import chroma_of
from musicgen.model.encodec import encode_channels
from musicgen.model.musicgen import MusicGen
from musicgen.model.tokenizer import Tokenize
from musicgen.process.stopwatch import Stopwatch
from musicgen.result import Timings

PREFILL_COLUMNS = {"cpu": 64}
"""Read at once of a context: others have the processor in between."""


class JobRun:
    """Makes the windows of `job` ready to be decoded and collects their codes.

    `codes`: (clips, codebooks, frames), of which the first `known` frames are known.
    """

    def __init__(
        self, model: MusicGen, tokenize: Tokenize, job: GenerationJob, thread: DeviceThread
    ) -> None:
        self._model, self._tokenize, self._job, self._run = model, tokenize, job, thread.run
        self.windows = plan_of(job, model.config)
        self.seconds = Timings()
        self._draws = Draws([row.seed for row in job.rows])
        self._conditioned: tuple[int, int, Conditioning] | None = None
        watch = Stopwatch()
        self.codes, self.known = self._run(_begun, model, job)
        self.seconds.audio_prompt = watch.lap()

    @torch.inference_mode()
    def begin(self, window: Window, slots: Slots | None) -> DecodeState:
        """The state of a window before its first step."""
        watch = Stopwatch()
        conditioning = self._conditioning(window)
        self.seconds.text += watch.lap()
        known = self.codes[:, :, window.start : window.start + window.known]
        state = DecodeState(
            self._model.decoder,
            self._job.rows,
            window.length,
            conditioning,
            known,
            self._draws,
            slots=slots,
        )
        most = PREFILL_COLUMNS.get(self._model.device.type)
        while not self._run(state.prefill, most):
            pass
        return state

    @torch.inference_mode()
    def take(self, window: Window, state: DecodeState, done: int) -> None:
        """Keeps what is complete after `done` steps of a window."""
        complete = state.codes(done)
        end = window.start + complete.shape[2]
        if end > self.known:
            new = end - self.known
            self.codes[:, :, self.known : end] = complete[:, :, -new:]
            self.known = end

    def _conditioning(self, window: Window) -> Conditioning:
        """Of the window's section; a melody moves on with every window."""
        place = (window.section, window.start if self._job.melody is not None else 0)
        if self._conditioned is None or self._conditioned[:2] != place:
            made = self._run(_condition, self._model, self._tokenize, self._job, window)
            self._conditioned = (*place, made)
        return self._conditioned[2]


@torch.inference_mode()
def _begun(model: MusicGen, job: GenerationJob) -> tuple[Tensor, int]:
    """The codes of all clips with those of the audio prompt, and how many frames that are."""
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
def _condition(
    model: MusicGen, tokenize: Tokenize, job: GenerationJob, window: Window
) -> Conditioning:
    chroma = None
    if job.melody is not None:
        start = window.start * model.config.codec.hop_length
        heard = model.config.window_frames * model.config.codec.hop_length
        chroma = chroma_of(torch.from_numpy(melody_from(job.melody, start, heard)), model.config)
    return condition(model, tokenize, rows_of(job)[window.section], chroma)


def melody_from(melody: Pcm, start: int, length: int) -> Pcm:
    """What of a melody a window hears that begins at the sample `start`: at most `length` samples,
    from its beginning again where it ends (Copet et al.'s implementation repeats it so)."""
    if start == 0:
        return melody[:length]
    return np.take(melody, range(start, start + length), axis=0, mode="wrap")
