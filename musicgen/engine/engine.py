"""The engine of this project: decoding in plain PyTorch, without transformers."""

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
from musicgen.engine.audio_output import StreamDecoder, decode_waveform
from musicgen.engine.batch import CLOSED, Batch, Ticket
from musicgen.engine.conditioning import count_decoder_rows
from musicgen.engine.cuda.graphs import EagerRunner, StepRunner
from musicgen.engine.cuda.memory import choose_runner
from musicgen.engine.decode_state import DecodeState
from musicgen.engine.device_errors import translate_device_errors
from musicgen.engine.device_thread import DeviceThread
from musicgen.engine.interface import (
    DecodeProgress,
    EngineOutput,
    GenerationJob,
    Pcm,
    check_job,
    plan_job,
)
from musicgen.engine.likelihood import compute_negative_log_likelihood
from musicgen.engine.sequence import JobRun
from musicgen.engine.windows import Window
from musicgen.errors import NonFiniteLogits
from musicgen.model.config import MusicGenConfig
from musicgen.model.delay_pattern import DelayPattern
from musicgen.model.kernels import choose_packing
from musicgen.model.musicgen import MusicGen
from musicgen.model.native.library import load_library
from musicgen.model.tokenizer import Tokenize, build_tokenizer, load_tokenizer
from musicgen.process.resources import return_free_memory
from musicgen.process.stopwatch import Stopwatch

# On a GPU, reading the flag waits for the step, so only some steps read it.
FINITE_CHECK_INTERVAL_ON_GPU = 25
# Half a second of audio per piece of a stream.
STREAM_STEPS = 25
BATCH_ROWS = 16
MAX_WAITING = 64
PROGRESS_INTERVAL_SECONDS = 0.2


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
        self,
        model: MusicGen,
        tokenize: Tokenize,
        precision: str,
        *,
        rows: int = BATCH_ROWS,
        max_waiting: int = MAX_WAITING,
        runner: StepRunner | None = None,
    ) -> None:
        self.config: MusicGenConfig = model.config
        self.device = str(model.device)
        self.precision = precision
        self._model: MusicGen | None = model
        self._tokenize = tokenize
        self._runner = runner or EagerRunner()
        self._thread = DeviceThread(self.device)
        self._batch = Batch(self.device, rows, max_waiting, self._step)

    @cached_property
    def codec_fingerprint(self) -> str | None:
        """Fingerprint of the codec, to recognise saved tokens of the same codec."""
        return self._get_model().codec.fingerprint()

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
        """Load a checkpoint folder and optionally merge an `adapter` folder into it.

        `rows`: limit of decoder rows in one batch. `compiled=False` avoids this project's own C++.
        `torch_compile=True` lets torch.compile fuse the operations between matrix products on a
        GPU.

        Raises: a subclass of `CheckpointError`.
        """
        tokenize = load_tokenizer(folder)
        pack = choose_packing(precision, compiled=compiled) if device == "cpu" else None
        dtype = torch.bfloat16 if precision == "bfloat16" and pack is None else torch.float32
        model = load_model(folder, config, torch.device(device), dtype, pack=pack, adapter=adapter)
        return_free_memory()
        return cls._build(model, tokenize, precision, rows, torch_compile)

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
        """Load a packed file of any form suitable for `device` and `precision`.

        On a CPU, a file of a native form stays memory-mapped.

        Raises: a subclass of `CheckpointError`.
        """
        tokenize = build_tokenizer(pack.read, pack.path)
        native = pack.manifest.form.startswith(NATIVE)
        dtype = torch.bfloat16 if precision == "bfloat16" and device != "cpu" else torch.float32
        model = load_packed(
            pack, config, torch.device(device), dtype, load_library() if native else None
        )
        repack = choose_packing(precision) if device == "cpu" and not native else None
        if repack is not None:
            repack(model)
        return cls._build(model, tokenize, precision, rows, torch_compile)

    @classmethod
    def _build(
        cls, model: MusicGen, tokenize: Tokenize, precision: str, rows: int, torch_compile: bool
    ) -> MusicGenEngine:
        runner, rows = choose_runner(model, str(model.device), rows, torch_compile=torch_compile)
        return cls(model, tokenize, precision, rows=rows, runner=runner)

    def generate(self, job: GenerationJob) -> Generator[DecodeProgress, None, EngineOutput]:
        """Run a job: `Engine.generate`."""
        model = self._get_model()
        check_job(job, self.config)
        watch = Stopwatch()
        total = sum(_count_steps(window, self.config) for window in plan_job(job, self.config))
        with self._batch.reserve(count_decoder_rows(job)) as ticket:
            while not self._batch.wait_for_turn(ticket, PROGRESS_INTERVAL_SECONDS):
                yield DecodeProgress(0, total)
            waiting = watch.lap()
            with translate_device_errors(self.device):
                run = JobRun(model, self._tokenize, job, self._thread)
            stream = StreamDecoder(model, len(job.rows), self._thread) if job.stream else None
            done = 0
            for window in run.windows:
                for decoded in self._decode_window(ticket, run, window, stream):
                    yield replace(decoded, done=done + decoded.done, total=total)
                done += _count_steps(window, self.config)
        timings = replace(run.timings, waiting=waiting)
        timings.decode = watch.lap() - timings.text - timings.audio_prompt
        with translate_device_errors(self.device):
            if stream is not None:
                timings.codec, pcm = stream.seconds, stream.concatenate()
                timings.decode -= timings.codec
            else:
                pcm = tuple(decode_waveform(model, row, self._thread) for row in run.codes)
                timings.codec = watch.lap()
            return EngineOutput(run.codes.cpu().numpy(), pcm, total, timings)

    def _step(self, states: Sequence[DecodeState]) -> None:
        self._thread.run(self._runner.step, states)

    def _decode_window(
        self, ticket: Ticket, run: JobRun, window: Window, stream: StreamDecoder | None
    ) -> Iterator[DecodeProgress]:
        """Decode all steps of one window as part of the batch."""
        with translate_device_errors(self.device):
            state = run.start_window(window, self._runner.slots)
            self._runner.admit(state)
        try:
            self._batch.submit(ticket, state)
            for _ in range(state.total_steps):
                done = self._batch.wait_for_step(ticket)
                is_last = done == state.total_steps
                with translate_device_errors(self.device):
                    is_due = stream is not None and (is_last or done % STREAM_STEPS == 0)
                    is_checked = is_due or self._is_check_due(done, state.total_steps)
                    if is_checked and not state.is_finite():
                        raise NonFiniteLogits(done, self.precision)
                    if is_due or is_last:
                        run.collect(window, state, done)
                    pcm = stream.decode_new(run) if stream and is_due else ()
                yield DecodeProgress(done, state.total_steps, pcm=pcm)
        finally:
            self._runner.release(state)
            self._batch.clear(ticket)

    def negative_log_likelihood(self, prompt: str, pcm: Pcm) -> NDArray[np.float64]:
        """Return the nats per token of the clip `pcm`, by codebook.

        See `musicgen.engine.likelihood`.
        """
        with translate_device_errors(self.device):
            return compute_negative_log_likelihood(self._get_model(), self._tokenize, prompt, pcm)

    def close(self) -> None:
        """Free the weights; running jobs end with an error."""
        self._batch.close()
        self._thread.close()
        self._model = None

    def _get_model(self) -> MusicGen:
        if self._model is None:
            raise RuntimeError(CLOSED)
        return self._model

    def _is_check_due(self, done: int, steps: int) -> bool:
        on_cpu = self.device == "cpu"
        return on_cpu or done == steps or done % FINITE_CHECK_INTERVAL_ON_GPU == 0


def _count_steps(window: Window, config: MusicGenConfig) -> int:
    """Return the decoder steps of a window: its new frames and the delay of the last codebook."""
    decoder = config.decoder
    return window.new_frames + DelayPattern(decoder.codebooks, decoder.channels, 0).delays[-1]
