"""The engine of this project: the decode loop in plain PyTorch, without transformers."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musicgen.engine.batching import Batch, Ticket
from musicgen.engine.conditioning import Conditioning, condition, decoder_rows
from musicgen.engine.decoding import DecodeState, Slots
from musicgen.engine.device_thread import DeviceThread
from musicgen.engine.faults import typed_device_errors
from musicgen.engine.graphs import EagerSteps, Steps
from musicgen.engine.interface import Decoded, EngineOutput, GenerationJob, Pcm, check_job
from musicgen.engine.likelihood import negative_log_likelihood
from musicgen.engine.packing import packing
from musicgen.engine.planning import plan_steps
from musicgen.errors import NonFiniteLogits
from musicgen.machine import return_free_memory
from musicgen.model.chroma import chroma_of
from musicgen.model.codec_stream import CodecStream, pieces_of
from musicgen.model.config import MusicGenConfig
from musicgen.model.encodec import encode_channels
from musicgen.model.musicgen import MusicGen
from musicgen.model.native.library import library
from musicgen.model.pack_file import PackFile
from musicgen.model.pack_model import load_packed
from musicgen.model.tokenizer import Tokenize, load_tokenizer, tokenizer_of
from musicgen.model.weights import load_model
from musicgen.packed_format import NATIVE
from musicgen.result import Timings
from musicgen.stopwatch import Stopwatch

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
    ) -> MusicGenEngine:
        """Reads a checkpoint folder; `rows` of the decoder run together at most. `compiled` false
        does without this project's own C++.

        Raises: a subclass of `CheckpointError`.
        """
        tokenize = load_tokenizer(folder)
        pack = packing(precision, compiled=compiled) if device == "cpu" else None
        dtype = torch.bfloat16 if precision == "bfloat16" and pack is None else torch.float32
        model = load_model(folder, config, torch.device(device), dtype, pack=pack)
        return_free_memory()
        return cls._planned(model, tokenize, precision, rows)

    @classmethod
    def load_packed(
        cls,
        pack: PackFile,
        config: MusicGenConfig,
        device: str,
        precision: str,
        *,
        rows: int = BATCH_ROWS,
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
        return cls._planned(model, tokenize, precision, rows)

    @classmethod
    def _planned(
        cls, model: MusicGen, tokenize: Tokenize, precision: str, rows: int
    ) -> MusicGenEngine:
        steps, rows = plan_steps(model, str(model.device), rows)
        return cls(model, tokenize, precision, rows=rows, steps=steps)

    def generate(self, job: GenerationJob) -> Generator[Decoded, None, EngineOutput]:
        model = self._loaded()
        check_job(job, self.config)
        seconds, watch = Timings(), Stopwatch()
        with self._batch.place(decoder_rows(job)) as ticket:
            while not self._batch.wait_for_turn(ticket, TOLD_WHILE_WAITING_SECONDS):
                yield Decoded(0, 1)
            seconds.waiting = watch.lap()
            state = self._prepared(model, job, seconds)
            watch.lap()
            waveforms = _Waveforms(model, job, state.steps, self._thread) if job.stream else None
            try:
                yield from self._decoded(ticket, state, waveforms)
                with typed_device_errors(self.device):
                    codes = state.codes()
            finally:
                self._steps.end(state)
        with typed_device_errors(self.device):
            if waveforms is not None:
                seconds.codec, pcm = waveforms.seconds, waveforms.joined()
                seconds.decode = watch.lap() - seconds.codec
            else:
                seconds.decode = watch.lap()
                pcm = tuple(_waveform(model, row, self._thread) for row in codes)
                seconds.codec = watch.lap()
            return EngineOutput(codes.cpu().numpy(), pcm, state.steps, seconds)

    def _step(self, states: Sequence[DecodeState]) -> None:
        self._thread.run(self._steps.step, states)

    def _decoded(
        self, ticket: Ticket, state: DecodeState, waveforms: _Waveforms | None
    ) -> Iterator[Decoded]:
        """All steps of a job, in the batch."""
        with typed_device_errors(self.device):
            self._steps.start(state)
        self._batch.decode(ticket, state)
        for _ in range(state.steps):
            done = self._batch.next_step(ticket)
            with typed_device_errors(self.device):
                due = waveforms is not None and waveforms.due(done)
                checked = due or self._checks_finiteness(done, state.steps)
                if checked and not state.all_finite():
                    raise NonFiniteLogits(done, self.precision)
                pcm = waveforms.advance(state.codes(done), done) if waveforms and due else ()
            yield Decoded(done, state.steps, pcm=pcm)

    def _prepared(self, model: MusicGen, job: GenerationJob, seconds: Timings) -> DecodeState:
        """Everything before the first step."""
        watch = Stopwatch()
        with typed_device_errors(self.device):
            run = self._thread.run
            prompt, chroma = run(_audio_inputs, model, job)
            seconds.audio_prompt = watch.lap()
            conditioning = run(_condition, model, self._tokenize, job, chroma)
            seconds.text = watch.lap()
            return run(_prefill, model, job, conditioning, prompt, self._steps.slots)

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


class _Waveforms:
    """The samples of all rows of a stream, decoded while later codes are still being made."""

    def __init__(
        self, model: MusicGen, job: GenerationJob, steps: int, thread: DeviceThread
    ) -> None:
        self._streams = [CodecStream(model.codec, model.config.channels) for _ in job.rows]
        self._steps, self._run = steps, thread.run
        self._frames = 0
        self._pieces: list[tuple[Pcm, ...]] = []
        self.seconds = 0.0

    def due(self, done: int) -> bool:
        return done == self._steps or done % STREAM_STEPS == 0

    def advance(self, codes: Tensor, done: int) -> tuple[Pcm, ...]:
        """Decodes what is new in `codes` (rows, codebooks, frames complete so far)."""
        watch = Stopwatch()
        new, self._frames = codes[:, :, self._frames :], codes.shape[2]
        piece = tuple(
            _samples(self._run(stream.push, row, last=done == self._steps))
            for stream, row in zip(self._streams, new, strict=True)
        )
        self._pieces.append(piece)
        self.seconds += watch.lap()
        return piece

    def joined(self) -> tuple[Pcm, ...]:
        return tuple(np.concatenate(pieces) for pieces in zip(*self._pieces, strict=True))


# inference_mode is thread state: a generator must not hold it across a yield, so the functions
# that touch tensors carry it.


@torch.inference_mode()
def _audio_inputs(model: MusicGen, job: GenerationJob) -> tuple[Tensor | None, Tensor | None]:
    """Codes (codebooks, frames) of the audio prompt and chroma (frames, bins) of the melody."""
    codes = chroma = None
    if job.audio_prompt is not None:
        waveform = torch.from_numpy(np.ascontiguousarray(job.audio_prompt.T))
        codes = encode_channels(model.codec, waveform[None].to(model.device))[0]
    if job.melody is not None:
        chroma = chroma_of(torch.from_numpy(job.melody), model.config)
    return codes, chroma


@torch.inference_mode()
def _condition(
    model: MusicGen, tokenize: Tokenize, job: GenerationJob, chroma: Tensor | None
) -> Conditioning:
    return condition(model, tokenize, job, chroma)


@torch.inference_mode()
def _prefill(
    model: MusicGen,
    job: GenerationJob,
    conditioning: Conditioning,
    prompt: Tensor | None,
    slots: Slots | None,
) -> DecodeState:
    return DecodeState(model.decoder, job, conditioning, prompt, slots=slots)


def _waveform(model: MusicGen, codes: Tensor, thread: DeviceThread) -> Pcm:
    """Codes (codebooks, frames) of one row to PCM (samples, channels), in pieces between which
    others have the thread."""
    pieces = pieces_of(model.codec, codes, model.config.channels)
    made = iter(lambda: thread.run(next, pieces, None), None)
    return np.concatenate([_samples(piece) for piece in made])


def _samples(waveform: Tensor) -> Pcm:
    return waveform.t().float().cpu().contiguous().numpy()
