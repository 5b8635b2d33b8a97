"""The engine of this project: the decode loop in plain PyTorch, without transformers."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from musicgen.checkpoints.packed.format import NATIVE
from musicgen.checkpoints.packed.layouts import load_packed
from musicgen.checkpoints.packed.reader import PackFile
from musicgen.checkpoints.weights import load_model
from musicgen.engine.audio_output import Waveforms, waveform
from musicgen.engine.batch import Batch, Ticket
from musicgen.engine.conditioning import decoder_rows
from musicgen.engine.cuda.graphs import EagerSteps, Steps
from musicgen.engine.cuda.memory import plan_steps
from musicgen.engine.decode_state import DecodeState
from musicgen.engine.device_errors import typed_device_errors
from musicgen.engine.device_thread import DeviceThread
from musicgen.engine.interface import (
    Decoded,
    EngineOutput,
    GenerationJob,
    Pcm,
    check_job,
    plan_of,
)
from musicgen.engine.likelihood import negative_log_likelihood
from musicgen.engine.sequence import JobRun
from musicgen.engine.windows import Window
from musicgen.errors import NonFiniteLogits
from musicgen.model.config import MusicGenConfig
from musicgen.model.delay_pattern import DelayPattern
from musicgen.model.kernels import packing
from musicgen.model.musicgen import MusicGen
from musicgen.model.native.library import library
from musicgen.model.tokenizer import Tokenize, load_tokenizer, tokenizer_of
from musicgen.process.resources import return_free_memory
from musicgen.process.stopwatch import Stopwatch

# On a GPU reading the flag waits for the step, so it is not read at each.
FINITE_CHECK_INTERVAL_ON_GPU = 25
# A piece of a stream is half a second.
STREAM_STEPS = 25
BATCH_ROWS = 16
MOST_WAITING = 64
TOLD_WHILE_WAITING_SECONDS = 0.2


class MusicGenEngine:
    """One loaded checkpoint. Jobs of several threads are decoded together, in one batch that they
    join and leave between steps; nothing but rounding tells a job from the same one alone.

    `precision` float32 is the reference. bfloat16 holds the decoder in 16 bits: bfloat16
    throughout on a GPU, float16 weights with float32 arithmetic on an x86 processor. int8, on
    processors only, multiplies 8-bit weights by 8-bit activations.
    """

    name = "musicgen"

    def __init__(
        self,
        model: MusicGen,
        tokenize: Tokenize,
        precision: str,
        *,
        rows: int = BATCH_ROWS,
        most_waiting: int = MOST_WAITING,
        steps: Steps | None = None,
    ) -> None:
        self.config: MusicGenConfig = model.config
        self.device = str(model.device)
        self.precision = precision
        self._model: MusicGen | None = model
        self._tokenize = tokenize
        self._steps = steps or EagerSteps()
        self._thread = DeviceThread(self.device)
        self._batch = Batch(self.device, rows, most_waiting, self._step)

    @cached_property
    def codec_mark(self) -> str | None:
        return self._loaded().codec.mark()

    @classmethod
    def load(
        cls,
        folder: Path,
        config: MusicGenConfig,
        device: str,
        precision: str,
        *,
        rows: int = BATCH_ROWS,
        compiled: bool = True,
        torch_compile: bool = False,
        adapter: Path | None = None,
    ) -> MusicGenEngine:
        """Reads a checkpoint folder, and merges the `adapter` of another one into it; `rows` of the
        decoder run together at most. `compiled` false does without this project's own C++,
        `torch_compile` has torch's compiler fuse what lies between the products on a GPU.

        Raises: a subclass of `CheckpointError`.
        """
        tokenize = load_tokenizer(folder)
        pack = packing(precision, compiled=compiled) if device == "cpu" else None
        dtype = torch.bfloat16 if precision == "bfloat16" and pack is None else torch.float32
        model = load_model(folder, config, torch.device(device), dtype, pack=pack, adapter=adapter)
        return_free_memory()
        return cls._planned(model, tokenize, precision, rows, torch_compile)

    @classmethod
    def load_packed(
        cls,
        pack: PackFile,
        config: MusicGenConfig,
        device: str,
        precision: str,
        *,
        rows: int = BATCH_ROWS,
        torch_compile: bool = False,
    ) -> MusicGenEngine:
        """The same of a packed file, which may be of any form that `device` and `precision` go
        with; it stays mapped on a processor if it is of a native one.

        Raises: a subclass of `CheckpointError`.
        """
        tokenize = tokenizer_of(pack.read, pack.path)
        native = pack.manifest.form.startswith(NATIVE)
        dtype = torch.bfloat16 if precision == "bfloat16" and device != "cpu" else torch.float32
        model = load_packed(
            pack, config, torch.device(device), dtype, library() if native else None
        )
        repack = packing(precision) if device == "cpu" and not native else None
        if repack is not None:
            repack(model)
        return cls._planned(model, tokenize, precision, rows, torch_compile)

    @classmethod
    def _planned(
        cls, model: MusicGen, tokenize: Tokenize, precision: str, rows: int, torch_compile: bool
    ) -> MusicGenEngine:
        steps, rows = plan_steps(model, str(model.device), rows, torch_compile=torch_compile)
        return cls(model, tokenize, precision, rows=rows, steps=steps)

    def generate(self, job: GenerationJob) -> Generator[Decoded, None, EngineOutput]:
        model = self._loaded()
        check_job(job, self.config)
        watch = Stopwatch()
        total = sum(_steps_of(window, self.config) for window in plan_of(job, self.config))
        with self._batch.place(decoder_rows(job)) as ticket:
            while not self._batch.wait_for_turn(ticket, TOLD_WHILE_WAITING_SECONDS):
                yield Decoded(0, total)
            waiting = watch.lap()
            with typed_device_errors(self.device):
                run = JobRun(model, self._tokenize, job, self._thread)
            waveforms = Waveforms(model, len(job.rows), self._thread) if job.stream else None
            done = 0
            for window in run.windows:
                for decoded in self._decoded(ticket, run, window, waveforms):
                    yield replace(decoded, done=done + decoded.done, total=total)
                done += _steps_of(window, self.config)
        seconds = replace(run.seconds, waiting=waiting)
        seconds.decode = watch.lap() - seconds.text - seconds.audio_prompt
        with typed_device_errors(self.device):
            if waveforms is not None:
                seconds.codec, pcm = waveforms.seconds, waveforms.joined()
                seconds.decode -= seconds.codec
            else:
                pcm = tuple(waveform(model, row, self._thread) for row in run.codes)
                seconds.codec = watch.lap()
            return EngineOutput(run.codes.cpu().numpy(), pcm, total, seconds)

    def _step(self, states: Sequence[DecodeState]) -> None:
        self._thread.run(self._steps.step, states)

    def _decoded(
        self, ticket: Ticket, run: JobRun, window: Window, waveforms: Waveforms | None
    ) -> Iterator[Decoded]:
        """All steps of one window, in the batch."""
        with typed_device_errors(self.device):
            state = run.begin(window, self._steps.slots)
            self._steps.start(state)
        try:
            self._batch.decode(ticket, state)
            for _ in range(state.steps):
                done = self._batch.next_step(ticket)
                is_last = done == state.steps
                with typed_device_errors(self.device):
                    due = waveforms is not None and (is_last or done % STREAM_STEPS == 0)
                    checked = due or self._checks_finiteness(done, state.steps)
                    if checked and not state.all_finite():
                        raise NonFiniteLogits(done, self.precision)
                    if due or is_last:
                        run.take(window, state, done)
                    pcm = waveforms.advance(run) if waveforms and due else ()
                yield Decoded(done, state.steps, pcm=pcm)
        finally:
            self._steps.end(state)
            self._batch.forget(ticket)

    def negative_log_likelihood(self, prompt: str, pcm: Pcm) -> NDArray[np.float64]:
        """Nats for each token of the clip `pcm`, by codebook: `engine.likelihood`."""
        with typed_device_errors(self.device):
            return negative_log_likelihood(self._loaded(), self._tokenize, prompt, pcm)

    def close(self) -> None:
        self._batch.close()
        self._thread.close()
        self._model = None

    def _loaded(self) -> MusicGen:
        if self._model is None:
            raise RuntimeError("this engine is closed")
        return self._model

    def _checks_finiteness(self, done: int, steps: int) -> bool:
        on_cpu = self.device == "cpu"
        return on_cpu or done == steps or done % FINITE_CHECK_INTERVAL_ON_GPU == 0


def _steps_of(window: Window, config: MusicGenConfig) -> int:
    """Of the decoder: the last codebook of the last frame comes later than the first."""
    decoder = config.decoder
    return window.new + DelayPattern(decoder.codebooks, decoder.channels, 0).delays[-1]
