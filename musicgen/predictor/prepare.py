"""From a request to an engine's job: seconds to frames, a file to samples, words to a prompt."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musicgen.audio.crossfade import Joint
from musicgen.audio.decode import read_audio, to_channels
from musicgen.audio.embedded_tokens import tokens_in
from musicgen.audio.resample import resample
from musicgen.engine.interface import NO_MELODY, GenerationJob, Pcm, Row, Section
from musicgen.engine.windows import stride_frames
from musicgen.errors import InvalidInputAudio, InvalidRequest
from musicgen.model.config import MusicGenConfig
from musicgen.request import GenerationRequest, seed_of_variation
from musicgen.request.limits import CONTINUATION_TO_THE_END

BETWEEN_PROMPTS = " | "
WHOLE_MIX = "the melody was taken from the whole mix, without source separation"
FROM_TOKENS = "continued from the tokens that the clip carries"
SEPARATED = "the melody was taken from the vocals and other instruments, without drums and bass"
TuneOf = Callable[[Pcm, int], Pcm | None]
"""A recording (samples, channels) and its rate to its tune (samples, 1), or None for all of it."""


@dataclass(frozen=True)
class PreparedJob:
    """`job`, and what is around it: `texts` as they are told of each clip, and of a continuation
    the `continued` clip, of which the job hears what follows the sample `offset`."""

    job: GenerationJob
    texts: tuple[str, ...]
    notes: tuple[str, ...] = ()
    continued: Pcm | None = None
    offset: int = 0

    def joint(self, sample_rate: int) -> Joint | None:
        """A new one for each clip."""
        if self.continued is None:
            return None
        return Joint(self.continued, self.offset, sample_rate)

    def joined(self, pcm: Pcm, sample_rate: int) -> Pcm:
        """What was made, behind the clip that it continues."""
        joint = self.joint(sample_rate)
        return pcm if joint is None else joint.push(pcm)


def prepare(
    request: GenerationRequest,
    seed: int,
    config: MusicGenConfig,
    tune_of: TuneOf = lambda pcm, rate: None,
    codec_mark: str | None = None,
) -> PreparedJob:
    """Reads the input audio too. Raises: a subclass of `InvalidRequest`, what `tune_of` raises."""
    texts = tuple(_with_tempo(text, request) for text in request.texts)
    rows = tuple(
        Row(text, seed_of_variation(seed, index), request.sampling, request.negative_prompt)
        for index, text in enumerate(texts)
    )
    # Not a sample more for what floats make of 16.26 s.
    samples = math.ceil(request.seconds_to_generate * config.sample_rate - 1e-6)
    frames = math.ceil(samples / config.codec.hop_length)
    sections = _sections(request, frames, config)
    if sections:
        texts = (BETWEEN_PROMPTS.join(section.prompt for section in sections),) * len(texts)
    job = GenerationJob(rows, frames, sections=sections, stride_seconds=request.extend_stride)
    if request.input_audio is None:
        return PreparedJob(job, texts)
    if not request.continuation:
        if config.family == "text":
            raise InvalidInputAudio("input_audio", "a melody", NO_MELODY)
        heard = request.duration + config.window_frames / config.frame_rate
        pcm, rate = read_audio(request.input_audio, stop=heard, most_channels=2)
        tune = tune_of(pcm, rate)
        note = WHOLE_MIX if tune is None else SEPARATED
        melody = resample(to_channels(pcm, 1) if tune is None else tune, rate, config.sample_rate)
        return PreparedJob(replace(job, melody=melody), texts, (note,))
    end = request.continuation_end
    if not request.continuation_start and end == CONTINUATION_TO_THE_END:
        codes = _codes_in(request.input_audio, config, codec_mark)
        if codes is not None:
            _check_room(codes.shape[1] / config.frame_rate, request)
            return PreparedJob(replace(job, known_codes=codes), texts, (FROM_TOKENS,))
    # Of an hour no more than is needed to see that it is too long.
    last = request.continuation_start + request.duration + 1 / config.frame_rate
    pcm, rate = read_audio(
        request.input_audio,
        start=request.continuation_start,
        stop=last if end == CONTINUATION_TO_THE_END else min(end, last),
        most_channels=config.channels,
    )
    _check_room(len(pcm) / rate, request)
    clip = to_channels(resample(pcm, rate, config.sample_rate), config.channels)
    return _continuing(clip, samples, job, texts, config)


def check_tokens(request: GenerationRequest, prepared: PreparedJob, mark: str | None) -> None:
    """Raises: `InvalidRequest` where the clips would not be made of their tokens alone."""
    if request.save_tokens and (mark is None or prepared.offset):
        why = "with engine=musicgen" if mark is None else "with a shorter clip to continue"
        raise InvalidRequest("save_tokens", True, why)


def _codes_in(
    path: Path, config: MusicGenConfig, codec_mark: str | None
) -> NDArray[np.int64] | None:
    """The tokens in a clip, if this model's codec has made them."""
    if codec_mark is None or not path.is_file():
        return None
    saved = tokens_in(path)
    if saved is None or saved.codec != codec_mark or len(saved.codes) != config.decoder.codebooks:
        return None
    return saved.codes if saved.codes.max() < config.decoder.vocab_size else None


def _check_room(seconds: float, request: GenerationRequest) -> None:
    if seconds >= request.duration:
        raise InvalidInputAudio(
            "input_audio",
            f"{min(seconds, request.duration):g} s or more to continue",
            f"shorter than duration ({request.duration:g} s), which counts it: ask for more, or "
            "continue a part of it with continuation_start and continuation_end",
        )


def _continuing(
    clip: Pcm, samples: int, job: GenerationJob, texts: tuple[str, ...], config: MusicGenConfig
) -> PreparedJob:
    """Only whole frames of the clip are heard, up to its very end: a frame that is filled up with
    silence would be continued with silence. Of a long one no more than a window's context."""
    hop, window = config.codec.hop_length, config.window_frames
    frames = len(clip) // hop
    if frames >= window:
        frames = window - stride_frames(job.stride_seconds, window)
    if not frames:
        least = hop / config.sample_rate
        raise InvalidInputAudio(
            "input_audio", f"{len(clip)} samples to continue", f"at least {least:g} s of them"
        )
    offset = len(clip) - frames * hop
    job = replace(job, audio_prompt=clip[offset:], frames=math.ceil((samples - offset) / hop))
    return PreparedJob(job, texts, continued=clip, offset=offset)


def _sections(
    request: GenerationRequest, frames: int, config: MusicGenConfig
) -> tuple[Section, ...]:
    if request.sections is None:
        return ()
    lengths = [section.duration for section in request.sections]
    ends = [round(end * config.frame_rate) for end in itertools.accumulate(lengths)]
    ends[-1] = frames
    starts = [0, *ends[:-1]]
    words = [
        ", ".join(text.strip() for text in (request.prompt, section.prompt) if text.strip())
        for section in request.sections
    ]
    return tuple(
        Section(text, end - start) for text, start, end in zip(words, starts, ends, strict=True)
    )


def _with_tempo(text: str, request: GenerationRequest) -> str:
    """A loop is cut at bars, so the model should know how long they are."""
    if not request.loop or "bpm" in text.lower():
        return text
    return f"{text}, {request.bpm:g} bpm" if text.strip() else f"{request.bpm:g} bpm"
