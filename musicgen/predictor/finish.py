"""Finish what an engine generated: join, trim, normalize, embed tokens and make the parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from musicgen.audio.embedded_tokens import SavedTokens, compute_checksum
from musicgen.audio.normalize import Normalized
from musicgen.audio.postprocess import finish_clip
from musicgen.audio.tags import AudioTags
from musicgen.engine.interface import EngineOutput
from musicgen.predictor.parts import MadePart, make_parts
from musicgen.predictor.prepare import PreparedJob
from musicgen.predictor.separation import MelodySeparator
from musicgen.process.stopwatch import Stopwatch
from musicgen.request import AudioFormat, GenerationRequest
from musicgen.result import Timings


@dataclass(frozen=True)
class FinishedClips:
    """Clips of a request with the tags and the parts of each, ready to be stored."""

    clips: Sequence[Normalized]
    tags: Sequence[AudioTags]
    parts: Sequence[Sequence[MadePart]]


def finish_output(
    output: EngineOutput,
    request: GenerationRequest,
    prepared: PreparedJob,
    sample_rate: int,
    tags: Sequence[AudioTags],
    mark: str | None,
    separator: MelodySeparator,
    timings: Timings,
) -> FinishedClips:
    """Return the finished clips of an output at `sample_rate`, and time the work.

    `mark`: fingerprint of the codec, for saved tokens. Raises: the errors of `make_parts`.
    """
    watch = Stopwatch()
    audio_format = request.audio_format.with_rate(sample_rate)
    joined = [prepared.join(pcm, sample_rate) for pcm in output.pcm]
    clips = [finish_clip(pcm, sample_rate, request) for pcm in joined]
    if request.save_tokens:
        tags = _add_tokens(tags, output.codes, mark or "", clips, audio_format)
    timings.finish = watch.lap()
    parts = make_parts(clips, audio_format, tags, request, separator)
    timings.parts = watch.lap()
    return FinishedClips(clips, tags, parts)


def _add_tokens(
    tags: Sequence[AudioTags],
    codes: NDArray[np.int64],
    mark: str,
    clips: Sequence[Normalized],
    audio_format: AudioFormat,
) -> list[AudioTags]:
    """Return `tags` with the codes (clips, codebooks, frames) of the codec `mark` embedded."""
    saved = [
        SavedTokens(clip_codes, mark, compute_checksum(clip.pcm, audio_format))
        for clip_codes, clip in zip(codes, clips, strict=True)
    ]
    return [replace(tag, tokens=tokens.to_text()) for tag, tokens in zip(tags, saved, strict=True)]
