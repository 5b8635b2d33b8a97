"""Finish what an engine generated: join, trim, normalize, embed tokens and make the parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from musicgen.audio.embedded_tokens import SavedTokens, compute_checksum
from musicgen.audio.lossy_fit import LOSSY_FORMATS, fit_lossy
from musicgen.audio.normalize import Normalized, note_loudness
from musicgen.audio.pcm import Pcm
from musicgen.audio.postprocess import set_level, shape_clip
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
    files: Sequence[bytes | None]
    """Those encoded already, as lossy ones are to measure their loudness and peaks."""


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
    levelled = [
        level_clip(shape_clip(pcm, sample_rate, request), sample_rate, request, tag)
        for pcm, tag in zip(joined, tags, strict=True)
    ]
    clips, files = [clip for clip, _ in levelled], [file for _, file in levelled]
    if request.save_tokens:
        tags = _add_tokens(tags, output.codes, mark or "", clips, audio_format)
    timings.finish = watch.lap()
    parts = make_parts(clips, audio_format, tags, request, separator)
    timings.parts = watch.lap()
    return FinishedClips(clips, tags, parts, files)


def level_clip(
    pcm: Pcm, sample_rate: int, request: GenerationRequest, tags: AudioTags
) -> tuple[Normalized, bytes | None]:
    """Return a clip at its level, with its file if that had to be decoded to measure it.

    A lossy file above its ceiling is made anew, from a lower ceiling; one that lost loudness, from
    a louder clip.
    """
    is_lossy = request.output_format in LOSSY_FORMATS
    if not is_lossy or request.normalization_strategy == "none":
        return set_level(pcm, sample_rate, request), None
    has_target = request.normalization_strategy == "loudness"
    clip, fit = fit_lossy(
        lambda margin, boost: set_level(pcm, sample_rate, request, margin, boost),
        request.audio_format.with_rate(sample_rate),
        tags,
        request.true_peak_ceiling,
        keeps_loudness=has_target,
    )
    if has_target:
        clip = note_loudness(clip, fit.loudness_lufs, request.target_loudness)
    clip = replace(clip, loudness_lufs=fit.loudness_lufs, peak=fit.peak, true_peak=fit.true_peak)
    return clip, fit.data


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
