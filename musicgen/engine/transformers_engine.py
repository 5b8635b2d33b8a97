"""An engine around transformers' own `generate`: test oracle and fallback.

It is slow by design. transformers draws all randomness from one global generator, so rows run one
after another to stay independent of each other. Importing this module does not import transformers.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from musicgen.checkpoints.adapters.adapter import apply_to
from musicgen.engine.interface import (
    ENGINE_ADVICE,
    NEEDS_PYTORCH,
    DecodeProgress,
    EngineOutput,
    GenerationJob,
    Pcm,
    Row,
    check_job,
)
from musicgen.errors import (
    InvalidDuration,
    InvalidGuidance,
    InvalidRequest,
    MissingDependency,
    NonFiniteLogits,
    SettingsError,
    UnsupportedCheckpoint,
)
from musicgen.errors.request_reasons import RequestReason
from musicgen.model.chroma import compute_chroma
from musicgen.model.config import MusicGenConfig
from musicgen.model.delay_pattern import DelayPattern
from musicgen.model.tokenizer import Tokenize, load_tokenizer
from musicgen.process.stopwatch import Stopwatch
from musicgen.result import Timings

# All rows share torch's global generator and the model's audio encoder.
_generate_lock = threading.Lock()


class TransformersEngine:
    """One checkpoint behind `MusicgenForConditionalGeneration.generate`."""

    name = "transformers"
    codec_fingerprint = None
    has_diffusion = False

    def __init__(
        self, model: Any, config: MusicGenConfig, tokenize: Tokenize, device: str, precision: str
    ) -> None:
        self.config = config
        self.device = device
        self.precision = precision
        self._model = model
        self._tokenize = tokenize
        decoder = config.decoder
        self._pattern = DelayPattern(decoder.codebooks, decoder.channels, decoder.start_token)

    @classmethod
    def load(
        cls,
        folder: Path,
        config: MusicGenConfig,
        device: str,
        precision: str,
        adapter: Path | None = None,
    ) -> TransformersEngine:
        """Load a checkpoint folder and optionally merge an `adapter` folder into it.

        Raises: `MissingDependency`, a subclass of `CheckpointError`, `SettingsError`.
        """
        check_precision(precision)
        model = load_base(folder, config, precision)
        if adapter is not None:
            apply_to(model, adapter)
        tokenize = load_tokenizer(folder)
        return cls(model.to(device).eval(), config, tokenize, device, precision)

    def generate(self, job: GenerationJob) -> Generator[DecodeProgress, None, EngineOutput]:
        """Run a job: `Engine.generate`."""
        check_job(job, self.config)
        _check_one_window(job, self.config)
        if job.diffusion is not None:
            raise InvalidRequest("decoder", NEEDS_PYTORCH, advice=ENGINE_ADVICE)
        timings, watch = Timings(), Stopwatch()
        inputs = self._encode_audio(job)
        timings.audio_prompt = watch.lap()
        prompt_frames = inputs["decoder_input_ids"].shape[1] if job.audio_prompt is not None else 0
        # transformers does not delay a sequence with fewer frames than its last codebook waits.
        frames = max(job.frames, self._pattern.delays[-1])
        steps = self._pattern.count_steps(frames) - self._pattern.find_first_unknown(prompt_frames)
        codes: list[Tensor] = []
        pcm: list[Pcm] = []
        total = steps * len(job.rows)
        for index, row in enumerate(job.rows):
            call = _GenerateCall(
                self._model, self._build_arguments(row, steps, inputs), row.seed, self.precision
            )
            for done in call.run():
                yield DecodeProgress(index * steps + done, total)
            timings.decode += call.decode_seconds
            timings.codec += call.codec_seconds
            codes.append(call.read_codes()[:, : job.frames])
            pcm.append(call.read_waveform()[: job.frames * self.config.codec.hop_length])
        if job.stream:
            # transformers decodes a clip as a whole, so a stream has a single piece.
            yield DecodeProgress(total, total, pcm=tuple(pcm))
        return EngineOutput(torch.stack(codes).cpu().numpy(), tuple(pcm), total, timings)

    def close(self) -> None:
        """Free the weights."""
        self._model = None

    def _encode_audio(self, job: GenerationJob) -> dict[str, Tensor]:
        inputs = {}
        if job.audio_prompt is not None:
            waveform = torch.from_numpy(np.ascontiguousarray(job.audio_prompt.T))[:, None]
            encoded = self._model.audio_encoder.encode(
                waveform.to(self.device, self._model.dtype)
            ).audio_codes[0]
            # (channels, codebooks per channel, frames), interleaved
            inputs["decoder_input_ids"] = encoded.transpose(0, 1).flatten(0, 1)
        if job.melody is not None:
            chroma = torch.from_numpy(compute_chroma(job.melody, self.config))
            inputs["input_features"] = chroma[None].to(self.device, self._model.dtype)
        return inputs

    def _build_arguments(self, row: Row, steps: int, inputs: dict[str, Tensor]) -> dict[str, Any]:
        sampling = row.sampling
        tokens = torch.tensor([self._tokenize(row.prompt)], device=self.device)
        # An empty prompt is unconditional: the mask zeroes its states.
        mask = torch.ones_like(tokens) if row.prompt.strip() else torch.zeros_like(tokens)
        arguments: dict[str, Any] = {
            "input_ids": tokens,
            "attention_mask": mask,
            "max_new_tokens": steps,
            "guidance_scale": sampling.guidance,
            "do_sample": sampling.temperature > 0,
            **inputs,
        }
        if sampling.temperature > 0:
            arguments["temperature"] = sampling.temperature
            arguments["top_k"] = 0 if sampling.top_p > 0 else sampling.top_k
            arguments["top_p"] = sampling.top_p or 1.0
        return arguments


def check_precision(precision: str) -> None:
    """Refuse the integer precisions, unknown to transformers. Raises: `SettingsError`."""
    if precision in ("int8", "int4"):
        problem = f"cannot be {precision}: {precision} needs MUSICGEN_ENGINE=musicgen"
        raise SettingsError("MUSICGEN_PRECISION", problem)


def load_base(folder: Path, config: MusicGenConfig, precision: str) -> Any:
    """Load transformers' model of a checkpoint folder.

    Raises: `MissingDependency`, `UnsupportedCheckpoint`.
    """
    try:
        import transformers
    except ImportError:
        raise MissingDependency("transformers", "engine=transformers", "transformers") from None
    if config.family == "style":
        raise UnsupportedCheckpoint(
            f"{folder} has a style encoder, unknown to transformers: use MUSICGEN_ENGINE=musicgen."
        )
    classes: dict[str, Any] = {
        "text": transformers.MusicgenForConditionalGeneration,
        "melody": transformers.MusicgenMelodyForConditionalGeneration,
    }
    return classes[config.family].from_pretrained(folder, dtype=getattr(torch, precision))


def _check_one_window(job: GenerationJob, config: MusicGenConfig) -> None:
    """Reject windows, spans, negative prompts and weak guidance, unsupported by transformers."""
    advice = "Use MUSICGEN_ENGINE=musicgen."
    if job.spans:
        raise InvalidRequest("sections", RequestReason("needs_engine"), advice=advice)
    if job.frames > config.window_frames:
        seconds = config.window_frames / config.frame_rate
        raise InvalidDuration(
            "duration",
            RequestReason("engine_seconds", most=seconds),
            value=job.frames / config.frame_rate,
            advice=advice,
        )
    if any(row.negative_prompt.strip() for row in job.rows):
        raise InvalidRequest("negative_prompt", RequestReason("needs_engine"), advice=advice)
    scale = min(row.sampling.guidance for row in job.rows)
    if scale < 1:
        problem = RequestReason("engine_guidance")
        raise InvalidGuidance("classifier_free_guidance", problem, value=scale, advice=advice)


class _Cancelled(Exception):
    """The caller closed the generator."""


class _GenerateCall:
    """One call of `generate` in its own thread, read step by step."""

    def __init__(self, model: Any, arguments: dict[str, Any], seed: int, precision: str) -> None:
        self._model = model
        self._arguments = arguments
        self._seed = seed
        self._precision = precision
        self._steps: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._done = 0
        self._error: Exception | None = None
        self._codes_by_channel: list[Tensor] = []
        self._audio: Tensor | None = None
        self.decode_seconds = 0.0
        self.codec_seconds = 0.0

    def run(self) -> Generator[int, None, None]:
        """Yield the number of steps done. Closing it stops transformers at its next step."""
        thread = threading.Thread(target=self._generate, name="transformers-generate")
        thread.start()
        try:
            while (done := self._steps.get()) is not None:
                yield done
        finally:
            self._stop.set()
            thread.join()
        if self._error is not None:
            raise self._error

    def read_codes(self) -> Tensor:
        """Return the codes (codebooks, frames), left and right codebooks interleaved."""
        return torch.stack([codes[0, 0] for codes in self._codes_by_channel], dim=1).flatten(0, 1)

    def read_waveform(self) -> Pcm:
        """Return the PCM (samples, channels)."""
        assert self._audio is not None, "the call has finished"
        return self._audio[0].t().float().cpu().contiguous().numpy()

    def _generate(self) -> None:
        from transformers import LogitsProcessorList

        decode = self._model.audio_encoder.decode
        try:
            with _generate_lock, torch.random.fork_rng(), torch.inference_mode():
                torch.manual_seed(self._seed)
                self._model.audio_encoder.decode = lambda *a, **k: self._record_codes(
                    decode, *a, **k
                )
                watch = Stopwatch()
                try:
                    self._audio = self._model.generate(
                        **self._arguments,
                        logits_processor=LogitsProcessorList([self._check_logits]),
                    )
                finally:
                    self._model.audio_encoder.decode = decode
                self.decode_seconds = watch.lap() - self.codec_seconds
        except _Cancelled:
            pass
        except Exception as error:  # raised in the caller's thread
            self._error = error
        finally:
            self._steps.put(None)

    def _check_logits(self, _: Tensor, logits: Tensor) -> Tensor:
        """Check and count the logits of each step, before guidance (a logits processor)."""
        if self._stop.is_set():
            raise _Cancelled
        self._done += 1
        if not logits.isfinite().all():
            raise NonFiniteLogits(self._done, self._precision)
        self._steps.put(self._done)
        return logits

    def _record_codes(self, decode: Any, codes: Tensor, *args: Any, **kwargs: Any) -> Any:
        watch = Stopwatch()
        self._codes_by_channel.append(codes)
        output = decode(codes, *args, **kwargs)
        self.codec_seconds += watch.lap()
        return output
