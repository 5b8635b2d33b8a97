"""What an engine is given, what it gives back, and what every engine must do."""

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
from musicgen.model.config import MusicGenConfig
from musicgen.request import SamplingParams
from musicgen.request.limits import STRIDE_DEFAULT_SECONDS
from musicgen.result import Progress, Timings

Pcm = NDArray[np.float32]
NO_MELODY = (
    "this model follows text only: choose a melody model, "
    "or set continuation=true to continue the clip"
)


@dataclass(frozen=True)
class Row:
    """One clip to make. An empty prompt means unconditional. Guidance leads away from
    `negative_prompt`, which is nothing where it is empty."""

    prompt: str
    seed: int
    sampling: SamplingParams
    negative_prompt: str = ""


@dataclass(frozen=True)
class PromptSpan:
    """`frames` of a clip that have a prompt of their own."""

    prompt: str
    frames: int


@dataclass(frozen=True)
class GenerationJob:
    """Rows that are decoded together, all `frames` frames long, the audio prompt included.

    `audio_prompt`: the music to continue, `melody`: the tune to follow; float32 PCM (samples,
    channels) at the model's sampling rate, `audio_prompt` with the model's channels. `known_codes`
    (codebooks, frames) may stand in for `audio_prompt`. `stream`
    asks for the samples as they are made. `sections` follow the audio prompt and last to the end;
    their prompts stand in for those of the rows. `stride_seconds` is how far the windows of a long
    clip are apart, see `musicgen.engine.windows`.
    """

    rows: tuple[Row, ...]
    frames: int
    audio_prompt: Pcm | None = None
    melody: Pcm | None = None
    known_codes: NDArray[np.int64] | None = None
    stream: bool = False
    spans: tuple[PromptSpan, ...] = ()
    stride_seconds: float = STRIDE_DEFAULT_SECONDS


@dataclass(frozen=True)
class DecodeProgress(Progress):
    """`pcm`: (samples, channels) of each row, what is new since the last one; of streams only."""

    pcm: tuple[Pcm, ...] = ()


@dataclass(frozen=True)
class EngineOutput:
    """`codes`: (rows, codebooks, frames). `pcm`: one (samples, channels) array for each row.

    `seconds` has the phases text, audio_prompt, decode and codec.
    """

    codes: NDArray[np.int64]
    pcm: tuple[Pcm, ...]
    steps: int
    timings: Timings


class Engine(Protocol):
    """Loads one checkpoint and runs jobs on it; jobs may come from several threads."""

    @property
    def name(self) -> str: ...
    @property
    def config(self) -> MusicGenConfig: ...
    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def codec_fingerprint(self) -> str | None:
        """What tells this checkpoint's tokens from those of another codec; None where the engine
        does not go on from tokens."""
        ...

    def generate(self, job: GenerationJob) -> Generator[DecodeProgress, None, EngineOutput]:
        """Yields after every decode step and returns the clips. Closing it cancels the job.

        While others take all the room it yields 0 steps done from time to time. A job that is not
        pulled stops after a while, and keeps its place. Of a stream, the pieces of a row join to
        the clip that is returned.

        Raises: `NonFiniteLogits`, `InvalidRequest` for what this checkpoint cannot do,
        `OutOfMemory`, `DeviceFault`, `EngineBusy`.
        """
        ...

    def close(self) -> None:
        """Frees the weights. Jobs still running finish with an error."""
        ...


def run_to_end(steps: Generator[DecodeProgress, None, EngineOutput]) -> EngineOutput:
    """What a job returns, for those whom its progress does not concern."""
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            output: EngineOutput = finished.value
            return output


def count_known_frames(job: GenerationJob, config: MusicGenConfig) -> int:
    """How many frames of its clips a job brings along."""
    if job.known_codes is not None:
        return len(job.known_codes[0])
    if job.audio_prompt is None:
        return 0
    return math.ceil(len(job.audio_prompt) / config.codec.hop_length)


def plan_job(job: GenerationJob, config: MusicGenConfig) -> tuple[Window, ...]:
    """The windows of a job that `check_job` has let through."""
    known = count_known_frames(job, config)
    lengths = [span.frames for span in job.spans] or [job.frames - known]
    ends = list(itertools.accumulate(lengths, initial=known))[1:]
    stride = compute_stride_frames(job.stride_seconds, config.window_frames)
    return plan_windows(ends, known, config.window_frames, stride)


def check_job(job: GenerationJob, config: MusicGenConfig) -> None:
    """Refuses what the loaded checkpoint cannot do. Raises: a subclass of `InvalidRequest`."""
    vocabulary = config.decoder.vocab_size
    for row in job.rows:
        if row.sampling.top_k > vocabulary:
            raise InvalidTopK(
                "top_k", row.sampling.top_k, f"this model has {vocabulary} tokens a codebook"
            )
    if job.melody is not None and config.family != "melody":
        raise InvalidInputAudio("input_audio", "a melody", NO_MELODY)
    frames = count_known_frames(job, config)
    if frames >= job.frames:
        raise InvalidInputAudio(
            "input_audio",
            f"{frames / config.frame_rate:g} s to continue",
            f"shorter than duration ({job.frames / config.frame_rate:g} s), which counts it",
        )
