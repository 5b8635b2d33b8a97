"""Prepare an engine job from a request: seconds to frames, a file to samples, words to a prompt."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musicgen.audio.crossfade import Crossfade
from musicgen.audio.decode import read_audio, to_channels
from musicgen.audio.embedded_tokens import read_tokens
from musicgen.audio.resample import resample
from musicgen.engine.interface import (
    MELODY_ADVICE,
    NOT_A_MELODY,
    GenerationJob,
    Pcm,
    PromptSpan,
    Row,
)
from musicgen.engine.windows import compute_stride_frames
from musicgen.errors import InvalidInputAudio, InvalidRequest
from musicgen.errors.counts import format_count
from musicgen.errors.request_reasons import RequestReason
from musicgen.errors.sound_reasons import SoundReason
from musicgen.model.config import MusicGenConfig
from musicgen.notes import ResultNote
from musicgen.predictor.style import check_style, read_style
from musicgen.request import GenerationRequest, seed_of_variation
from musicgen.request.limits import CONTINUATION_TO_THE_END

BETWEEN_PROMPTS = " | "
WHOLE_MIX, FROM_TOKENS, SEPARATED = (
    ResultNote("whole_mix"),
    ResultNote("from_tokens"),
    ResultNote("separated"),
)
ExtractMelody = Callable[[Pcm, int], Pcm | None]
"""Takes a recording (samples, channels) and its rate; returns the melody (samples, 1) or None."""


@dataclass(frozen=True)
class PreparedJob:
    """Engine job with the facts around it.

    `texts` are the prompts reported for each clip. For a continuation, `continued` is the clip to
    continue; the job hears it from the sample `offset` on.
    """

    job: GenerationJob
    texts: tuple[str, ...]
    notes: tuple[ResultNote, ...] = ()
    continued: Pcm | None = None
    offset: int = 0

    def open_crossfade(self, sample_rate: int) -> Crossfade | None:
        """Return a new crossfade for one clip, or None without a continuation."""
        if self.continued is None:
            return None
        return Crossfade(self.continued, self.offset, sample_rate)

    def join(self, pcm: Pcm, sample_rate: int) -> Pcm:
        """Return generated samples after the clip they continue, if any."""
        crossfade = self.open_crossfade(sample_rate)
        return pcm if crossfade is None else crossfade.push(pcm)


def prepare(
    request: GenerationRequest,
    seed: int,
    config: MusicGenConfig,
    extract_melody: ExtractMelody = lambda pcm, rate: None,
    codec_fingerprint: str | None = None,
) -> PreparedJob:
    """Prepare the engine job of a request and read its input audio.

    Raises: a subclass of `InvalidRequest`; the errors of `extract_melody`.
    """
    texts = tuple(_add_tempo(text, request) for text in request.texts)
    rows = tuple(
        Row(text, seed_of_variation(seed, index), request.sampling, request.negative_prompt)
        for index, text in enumerate(texts)
    )
    # A rounding error of the product must not add a sample.
    samples = math.ceil(request.seconds_to_generate * config.sample_rate - 1e-6)
    frames = math.ceil(samples / config.codec.hop_length)
    sections = _build_sections(request, frames, config)
    if sections:
        texts = (BETWEEN_PROMPTS.join(section.prompt for section in sections),) * len(texts)
    job = GenerationJob(rows, frames, spans=sections, stride_seconds=request.extend_stride)
    check_style(request, config)
    if request.input_audio is None:
        return PreparedJob(job, texts)
    if config.family == "style" and not request.continuation:
        style = read_style(request.input_audio, request, config)
        return PreparedJob(replace(job, style=style), texts)
    if not request.continuation:
        melody, note = _read_melody(request.input_audio, request, config, extract_melody)
        return PreparedJob(replace(job, melody=melody), texts, (note,))
    end = request.continuation_end
    if not request.continuation_start and end == CONTINUATION_TO_THE_END:
        codes = _read_codes(request.input_audio, config, codec_fingerprint)
        if codes is not None:
            _check_room(codes.shape[1] / config.frame_rate, request)
            return PreparedJob(replace(job, known_codes=codes), texts, (FROM_TOKENS,))
    # Reading one frame beyond the duration is enough to detect a clip too long to continue.
    last = request.continuation_start + request.duration + 1 / config.frame_rate
    pcm, rate = read_audio(
        request.input_audio,
        start=request.continuation_start,
        stop=last if end == CONTINUATION_TO_THE_END else min(end, last),
        max_channels=config.channels,
        is_foreign=True,
    )
    _check_room(len(pcm) / rate, request)
    clip = to_channels(resample(pcm, rate, config.sample_rate), config.channels)
    return _prepare_continuation(clip, samples, job, texts, config)


def _read_melody(
    path: Path, request: GenerationRequest, config: MusicGenConfig, extract_melody: ExtractMelody
) -> tuple[NDArray[np.float32], ResultNote]:
    """Return the melody (samples, 1) at the model's rate, and a note on what it was read from.

    Raises: `InvalidInputAudio`; the errors of `extract_melody`.
    """
    if config.family == "text":
        raise InvalidInputAudio("input_audio", NOT_A_MELODY, advice=MELODY_ADVICE)
    start, end = request.continuation_start, request.continuation_end
    stop = start + request.duration + config.window_frames / config.frame_rate
    if end != CONTINUATION_TO_THE_END:
        stop = min(stop, end)
    pcm, rate = read_audio(path, start=start, stop=stop, max_channels=2, is_foreign=True)
    if not round(len(pcm) * config.sample_rate / rate):
        problem = SoundReason("too_short_to_follow")
        raise InvalidInputAudio("input_audio", problem, value=format_count(len(pcm), "sample"))
    separated = extract_melody(pcm, rate)
    note = WHOLE_MIX if separated is None else SEPARATED
    mono = to_channels(pcm, 1) if separated is None else separated
    melody = resample(mono, rate, config.sample_rate)
    return melody, note


def check_saved_tokens(request: GenerationRequest, prepared: PreparedJob, mark: str | None) -> None:
    """Refuse `save_tokens` where the tokens would not reproduce the clips.

    Raises: `InvalidRequest`.
    """
    if not request.save_tokens:
        return
    if mark is None:
        advice = "Use MUSICGEN_ENGINE=musicgen."
        raise InvalidRequest("save_tokens", RequestReason("needs_engine"), advice=advice)
    if prepared.offset:
        raise InvalidRequest(
            "save_tokens",
            RequestReason("tokens_continued"),
            advice="Its tokens would not reproduce the beginning of the clip.",
        )


def _read_codes(
    path: Path, config: MusicGenConfig, codec_fingerprint: str | None
) -> NDArray[np.int64] | None:
    """Return the tokens embedded in a clip (codebooks, frames), if this model's codec made them."""
    if codec_fingerprint is None or not path.is_file():
        return None
    saved = read_tokens(path)
    if (
        saved is None
        or saved.codec != codec_fingerprint
        or len(saved.codes) != config.decoder.codebooks
    ):
        return None
    return saved.codes if saved.codes.max() < config.decoder.vocab_size else None


def _check_room(seconds: float, request: GenerationRequest) -> None:
    if seconds >= request.duration:
        raise InvalidInputAudio(
            "input_audio",
            RequestReason("sound_fills_clip", seconds=request.duration),
            advice="Set a longer duration, or continue a part of the clip with continuation_start "
            "and continuation_end.",
        )


def _prepare_continuation(
    clip: Pcm, samples: int, job: GenerationJob, texts: tuple[str, ...], config: MusicGenConfig
) -> PreparedJob:
    """Prepare a continuation from the last whole frames of the clip.

    A frame padded with silence would be continued with silence, so the first partial frame is left
    out. A long clip is cut to the context of one window.
    """
    hop, window = config.codec.hop_length, config.window_frames
    frames = len(clip) // hop
    if frames >= window:
        frames = window - compute_stride_frames(job.stride_seconds, window)
    if not frames:
        least = hop / config.sample_rate
        raise InvalidInputAudio(
            "input_audio",
            SoundReason("too_short_to_continue", least=least),
            value=format_count(len(clip), "sample"),
        )
    offset = len(clip) - frames * hop
    job = replace(job, audio_prompt=clip[offset:], frames=math.ceil((samples - offset) / hop))
    return PreparedJob(job, texts, continued=clip, offset=offset)


def _build_sections(
    request: GenerationRequest, frames: int, config: MusicGenConfig
) -> tuple[PromptSpan, ...]:
    if request.sections is None:
        return ()
    lengths = [section.duration for section in request.sections]
    ends = [round(end * config.frame_rate) for end in itertools.accumulate(lengths)]
    ends[-1] = frames
    starts = [0, *ends[:-1]]
    words = [
        _add_tempo(
            ", ".join(text.strip() for text in (request.prompt, part.prompt) if text.strip()),
            request,
        )
        for part in request.sections
    ]
    return tuple(
        PromptSpan(text, end - start) for text, start, end in zip(words, starts, ends, strict=True)
    )


def _add_tempo(text: str, request: GenerationRequest) -> str:
    """Add the tempo to a prompt without one: the file names it, and a loop is cut at its bars."""
    if request.bpm is None or "bpm" in text.lower():
        return text
    return f"{text}, {request.bpm:g} bpm" if text.strip() else f"{request.bpm:g} bpm"
