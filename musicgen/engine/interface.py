"""The interface of all engines: jobs, progress, output, and the checks of a job."""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from musicgen.engine.windows import Window, compute_stride_frames, plan_windows
from musicgen.errors import InvalidInputAudio, InvalidTopK
from musicgen.errors.request_reasons import RequestReason
from musicgen.errors.sound_reasons import SoundReason
from musicgen.model.config import MusicGenConfig
from musicgen.request import SamplingParams
from musicgen.request.limits import STRIDE_DEFAULT_SECONDS, TOP_K_DEFAULT
from musicgen.result import Progress, Timings

Pcm = NDArray[np.float32]
NOT_A_MELODY = SoundReason("not_a_melody")
MELODY_ADVICE = "Choose a melody model, or set continuation to continue the clip."

NEEDS_STYLE = SoundReason("no_style_model")
STYLE_ADVICE = "Choose musicgen-style, or leave the field out."

NEEDS_PYTORCH = RequestReason("decoder_unavailable")
ENGINE_ADVICE = (
    "Multi-band diffusion needs the engine musicgen in PyTorch: its operator can load the model's "
    "folder instead of a packed native file."
)


@dataclass(frozen=True)
class Row:
    """One clip to generate. An empty prompt means unconditional generation.

    Guidance leads away from `negative_prompt`, or from the unconditional state if it is empty.
    """

    prompt: str
    seed: int
    sampling: SamplingParams
    negative_prompt: str = ""


@dataclass(frozen=True)
class PromptSpan:
    """Consecutive frames of a clip conditioned on one prompt.

    A span starts a window of its own, and its later windows keep its conditioning.
    """

    prompt: str
    frames: int


@dataclass(frozen=True)
class StyleExcerpt:
    """Excerpt of a recording whose style all rows take, PCM (samples, channels).

    `codebooks`: codebooks of the bottleneck to use, None for the checkpoint's default.
    """

    pcm: Pcm
    codebooks: int | None = None


@dataclass(frozen=True)
class GenerationJob:
    """Rows to decode together, all `frames` frames long, the audio prompt included.

    `audio_prompt`: music to continue. `melody`: tune to follow. Both are float32 PCM (samples,
    channels) at the model's sampling rate, `audio_prompt` with the model's channels. `known_codes`
    (codebooks, frames) may replace `audio_prompt`. `stream`: return PCM during generation. `spans`
    start after the audio prompt and cover all remaining frames; their prompts replace those of the
    rows. `stride_seconds`: distance between the windows of a long clip, see
    `musicgen.engine.windows`. `diffusion`: weights of multi-band diffusion, to decode the codes by
    it. `style`: at the model's sampling rate.
    """

    rows: tuple[Row, ...]
    frames: int
    audio_prompt: Pcm | None = None
    melody: Pcm | None = None
    known_codes: NDArray[np.int64] | None = None
    stream: bool = False
    spans: tuple[PromptSpan, ...] = ()
    stride_seconds: float = STRIDE_DEFAULT_SECONDS
    diffusion: str | None = None
    style: StyleExcerpt | None = None


@dataclass(frozen=True)
class DecodeProgress(Progress):
    """Progress of a job. `pcm`: new PCM (samples, channels) of each row, for streams only."""

    pcm: tuple[Pcm, ...] = ()


@dataclass(frozen=True)
class EngineOutput:
    """Result of a job. `codes`: (rows, codebooks, frames). `pcm`: (samples, channels) per row.

    `timings` has the phases text, audio_prompt, decode and codec.
    """

    codes: NDArray[np.int64]
    pcm: tuple[Pcm, ...]
    steps: int
    timings: Timings


class Engine(Protocol):
    """A loaded checkpoint that runs jobs, also from several threads."""

    @property
    def name(self) -> str:
        """Name of the engine, as in the settings."""
        ...

    @property
    def config(self) -> MusicGenConfig:
        """Configuration of the loaded checkpoint."""
        ...

    @property
    def device(self) -> str:
        """Device of the weights: "cpu" or "cuda:0"."""
        ...

    @property
    def precision(self) -> str:
        """Precision of the decoder."""
        ...

    @property
    def codec_fingerprint(self) -> str | None:
        """Hash of the codec's codebooks, or None if the engine cannot continue from tokens."""
        ...

    @property
    def has_diffusion(self) -> bool:
        """Whether it can decode by multi-band diffusion, given the weights."""
        ...

    def generate(self, job: GenerationJob) -> Generator[DecodeProgress, None, EngineOutput]:
        """Yield after decode steps, at least every half second of audio, and return the clips.

        Closing the generator cancels the job. A queued job yields 0 steps done from time to time.
        If the caller stops reading, the job pauses and keeps its place. The PCM pieces of a
        streamed row join to the returned clip.

        Raises: `NonFiniteLogits`, `InvalidRequest` for a job this checkpoint does not support,
        `OutOfMemory`, `DeviceFault`, `EngineBusy`.
        """
        ...

    def close(self) -> None:
        """Free the weights. Running jobs end with an error."""
        ...


def run_to_end(steps: Generator[DecodeProgress, None, EngineOutput]) -> EngineOutput:
    """Run a job without reporting progress and return its output."""
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            output: EngineOutput = finished.value
            return output


def count_known_frames(job: GenerationJob, config: MusicGenConfig) -> int:
    """Return the number of frames given by the audio prompt or the known codes."""
    if job.known_codes is not None:
        return len(job.known_codes[0])
    if job.audio_prompt is None:
        return 0
    return math.ceil(len(job.audio_prompt) / config.codec.hop_length)


def plan_job(job: GenerationJob, config: MusicGenConfig) -> tuple[Window, ...]:
    """Return the windows of a job accepted by `check_job`."""
    known = count_known_frames(job, config)
    lengths = [span.frames for span in job.spans] or [job.frames - known]
    ends = list(itertools.accumulate(lengths, initial=known))[1:]
    stride = compute_stride_frames(job.stride_seconds, config.window_frames)
    return plan_windows(ends, known, config.window_frames, stride)


def check_job(job: GenerationJob, config: MusicGenConfig) -> None:
    """Check a job against the loaded checkpoint.

    The default of top_k fits every model: one with fewer tokens keeps all of them.

    Raises: a subclass of `InvalidRequest`.
    """
    vocabulary = config.decoder.vocab_size
    for row in job.rows:
        if row.sampling.top_k > vocabulary and row.sampling.top_k != TOP_K_DEFAULT:
            raise InvalidTopK(
                "top_k",
                f"must be at most {vocabulary}, the tokens per codebook of this model, or "
                f"{TOP_K_DEFAULT}, the default, for all of them",
                value=row.sampling.top_k,
            )
    if job.melody is not None and config.family != "melody":
        raise InvalidInputAudio("input_audio", NOT_A_MELODY, advice=MELODY_ADVICE)
    if job.style is not None and config.family != "style":
        raise InvalidInputAudio("input_audio", NEEDS_STYLE, advice=STYLE_ADVICE)
    frames = count_known_frames(job, config)
    if frames >= job.frames:
        problem = RequestReason("sound_fills_clip", seconds=job.frames / config.frame_rate)
        raise InvalidInputAudio("input_audio", problem, value=f"{frames / config.frame_rate:g} s")
