"""The backend in PyTorch: every checkpoint, on processors and GPUs, without transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musicgen.engine.backend import Codes, Draws
from musicgen.engine.engine import STREAM_STEPS
from musicgen.engine.interface import Pcm, Row, StyleExcerpt
from musicgen.engine.pytorch.conditioning import Conditioning, build_conditioning
from musicgen.engine.pytorch.cuda.codec import CodecQueue
from musicgen.engine.pytorch.cuda.graphs import EagerRunner, StepRunner
from musicgen.engine.pytorch.cuda.launch import NO_GRAPHS, LaunchOptions
from musicgen.engine.pytorch.cuda.prompts import PromptGraphs
from musicgen.engine.pytorch.decode_state import DecodeState
from musicgen.engine.pytorch.device_errors import translate_device_errors
from musicgen.engine.pytorch.diffusion import DiffusionLoader, TorchDiffusion
from musicgen.engine.pytorch.likelihood import compute_negative_log_likelihood
from musicgen.model.chroma import compute_chroma
from musicgen.model.encodec import encode_channels
from musicgen.model.memory import PIECE_FRAMES
from musicgen.model.musicgen import MusicGen
from musicgen.model.style.excerpt import resample_excerpt
from musicgen.model.tokenizer import Tokenize
from musicgen.model.upload import upload


class TorchBackend:
    """A model in PyTorch, `musicgen.engine.backend.Backend`.

    `precision`: float32 is the reference. bfloat16 stores the decoder in 16 bits: bfloat16
    throughout on a GPU, float16 weights with float32 arithmetic on an x86 CPU. int8 (CPU only)
    multiplies 8-bit weights by 8-bit activations. `launch`: of the work beside the steps; without a
    GPU its graphs run the same work uncaptured.
    """

    has_diffusion = True

    def __init__(
        self,
        model: MusicGen,
        tokenize: Tokenize,
        precision: str,
        runner: StepRunner | None = None,
        launch: LaunchOptions = NO_GRAPHS,
    ) -> None:
        self.model, self.tokenize, self.precision = model, tokenize, precision
        self.config, self.device = model.config, str(model.device)
        self.runner = runner or EagerRunner()
        self._diffusion = DiffusionLoader(model)
        on_gpu = model.device.type == "cuda"
        self.prompts = PromptGraphs(model, capture=on_gpu) if launch.prompt_graphs else None
        self.codec = CodecQueue(
            model,
            STREAM_STEPS,
            graphs=launch.codec_graphs,
            capture=on_gpu,
            own_stream=launch.codec_stream and on_gpu,
        )

    def compute_fingerprint(self) -> str:
        """Hash the codec's codebooks."""
        return self.model.codec.fingerprint()

    @torch.inference_mode()
    def encode_audio(self, pcm: Pcm) -> Codes:
        """Encode PCM (samples, channels) to codes (codebooks, frames)."""
        waveform = upload(torch.from_numpy(np.ascontiguousarray(pcm.T))[None], self.model.device)
        codes: Codes = encode_channels(self.model.codec, waveform)[0].cpu().numpy()
        return codes

    @torch.inference_mode()
    def build_conditioning(
        self, rows: Sequence[Row], melody: Pcm | None, style: StyleExcerpt | None = None
    ) -> Conditioning:
        """Encode the prompts of all rows, and the melody or the style all of them follow."""
        if style is not None and self.config.style is not None:
            rate = self.config.style.features.sample_rate
            samples = resample_excerpt(style.pcm, self.config.sample_rate, rate)
            heard = self.model.encode_style(torch.from_numpy(samples), style.codebooks)
            return self._build_conditioning(rows, None, heard)
        chroma = None
        if melody is not None:
            chroma = torch.from_numpy(compute_chroma(melody, self.config))
        return self._build_conditioning(rows, chroma)

    def _build_conditioning(
        self, rows: Sequence[Row], chroma: Tensor | None, style: Tensor | None = None
    ) -> Conditioning:
        encode = None if self.prompts is None else self.prompts.encode
        return build_conditioning(self.model, self.tokenize, rows, chroma, style, encode)

    @torch.inference_mode()
    def start_window(
        self,
        rows: Sequence[Row],
        frames: int,
        conditioning: Conditioning,
        known: Codes,
        draws: Draws,
    ) -> DecodeState:
        """Return the state of a window, before its prefill."""
        tokens, slots = torch.from_numpy(known), self.runner.slots
        return DecodeState(
            self.model.decoder, rows, frames, conditioning, tokens, draws, slots=slots
        )

    def admit(self, state: DecodeState) -> None:
        """Prepare a prefilled state for its first step."""
        self.runner.admit(state)

    def step(self, states: Sequence[DecodeState]) -> None:
        """Run one step of each state."""
        self.runner.step(states)

    def release(self, state: DecodeState) -> None:
        """Release the slots of a state."""
        self.runner.release(state)

    def open_stream(self) -> TorchCodecStream:
        """Return a streaming codec decoder of one clip."""
        return TorchCodecStream(self.codec, self.model.device)

    def decode(self, codes: Codes) -> Iterator[Pcm]:
        """Decode the codes (codebooks, frames) of a clip lazily, in pieces."""
        stream, frames = self.open_stream(), PIECE_FRAMES[self.model.device.type]
        for start in range(0, codes.shape[1], frames):
            end = start + frames
            yield stream.push(codes[:, start:end], end >= codes.shape[1])

    def open_diffusion(self, name: str) -> TorchDiffusion:
        """Return multi-band diffusion with the weights `name`. Raises: `InvalidRequest`."""
        return self._diffusion.open(name)

    def measure_likelihood(self, prompt: str, pcm: Pcm) -> NDArray[np.float64]:
        """Return the nats per token of the clip `pcm`, by codebook."""
        return compute_negative_log_likelihood(self.model, self.tokenize, prompt, pcm)

    def translate_errors(self) -> AbstractContextManager[None]:
        """Translate errors of the device into `OutOfMemory` and `DeviceFault`."""
        return translate_device_errors(self.device)


class TorchCodecStream:
    """Streaming codec decoder of one clip."""

    def __init__(self, codec: CodecQueue, device: torch.device) -> None:
        self._codec, self._stream, self._device = codec, codec.open(), device

    def push(self, codes: Codes, last: bool) -> Pcm:
        """Decode the next codes (codebooks, frames) to the samples no later code can change."""
        with self._codec.select():
            tokens = upload(torch.from_numpy(codes), self._device)
            return _to_pcm(self._stream.push(tokens, last))


def _to_pcm(samples: Tensor) -> Pcm:
    return samples.t().float().cpu().contiguous().numpy()
