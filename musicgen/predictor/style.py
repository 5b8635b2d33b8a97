"""The style of a request's input audio, for models with a style encoder. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from musicgen.audio.decode import read_audio, to_channels
from musicgen.audio.resample import resample
from musicgen.engine.interface import NEEDS_STYLE, STYLE_ADVICE, StyleExcerpt
from musicgen.errors import InvalidInputAudio, InvalidRequest
from musicgen.errors.request_reasons import RequestReason
from musicgen.model.config import MusicGenConfig
from musicgen.model.style.excerpt import cut_excerpt
from musicgen.request import GenerationRequest
from musicgen.request.limits import CONTINUATION_TO_THE_END, DURATION_MAX_SECONDS
from musicgen.request.rules import STYLE_FIELDS


def check_style(request: GenerationRequest, config: MusicGenConfig) -> None:
    """Refuse fields of the style that this model does not have. Raises: `InvalidRequest`."""
    given = [name for name in STYLE_FIELDS if getattr(request, name) is not None]
    if given and config.style is None:
        raise InvalidRequest(given[0], NEEDS_STYLE, advice=STYLE_ADVICE)
    if config.style is None:
        return
    limits = {
        "style_seconds": (config.style.shortest_seconds, config.style.longest_seconds),
        "style_detail": (1, config.style.codebooks),
    }
    for name, (low, high) in limits.items():
        value = getattr(request, name)
        if value is not None and not low <= value <= high:
            problem = RequestReason("style_range", low=low, high=high)
            raise InvalidRequest(name, problem, value=value)


def read_style(path: Path, request: GenerationRequest, config: MusicGenConfig) -> StyleExcerpt:
    """Return the excerpt whose style the clips take: the middle of the chosen part of a file.

    Raises: `InvalidInputAudio` for a part that is too short.
    """
    assert config.style is not None
    seconds = config.style.seconds if request.style_seconds is None else request.style_seconds
    end = request.continuation_end
    stop = request.continuation_start + DURATION_MAX_SECONDS
    pcm, rate = read_audio(
        path,
        start=request.continuation_start,
        stop=stop if end == CONTINUATION_TO_THE_END else min(stop, end),
        max_channels=2,
        is_foreign=True,
    )
    least = config.style.shortest_seconds
    if len(pcm) < least * rate:
        problem = RequestReason("style_too_short", least=least, length=len(pcm) / rate)
        raise InvalidInputAudio("input_audio", problem)
    # A margin, since a resampler needs some samples around what it makes.
    part = cut_excerpt(to_channels(pcm, 1), rate, seconds + 0.2)
    return StyleExcerpt(
        cut_excerpt(resample(part, rate, config.sample_rate), config.sample_rate, seconds),
        request.style_detail,
    )
