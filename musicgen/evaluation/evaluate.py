"""Evaluation of a model: two clips with the same seed for each pair of prompts, then compared.

The clips are streamed, so the measured sound is that of a live listener.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from musicgen.checkpoints.obtain import obtain
from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.interface import Engine, GenerationJob, Row
from musicgen.engine.loading import load_engine
from musicgen.errors import SettingsError
from musicgen.evaluation.clicks import count_clicks
from musicgen.evaluation.likelihood import Likelihood, measure_likelihood, read_music
from musicgen.evaluation.measures import Sound, clipping_share, longest_silence
from musicgen.evaluation.pairs import Pair, build_pairs
from musicgen.process.resources import cpu_quota
from musicgen.process.threads import use_threads
from musicgen.request import SamplingParams
from musicgen.request.limits import TOP_K_DEFAULT
from musicgen.settings import Settings

OnProgress = Callable[[int, int], None]
ROWS_AT_ONCE = 8
SILENT_SECONDS = 1.0
_Z = 1.959964
"""Standard score of a 95 % interval."""


@dataclass(frozen=True)
class AxisScore:
    """Score of one axis: its pairs, and how many measured in the right order."""

    axis: str
    pairs: int
    right: int

    @property
    def share(self) -> float:
        """Share of right pairs, 0 to 1."""
        return self.right / self.pairs

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the share, by Wilson's formula (1927)."""
        n, p = self.pairs, self.share
        centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
        return centre - half, centre + half


@dataclass(frozen=True)
class Adherence:
    """Adherence of a model to its prompts at one guidance scale, and faults of its clips.

    `silent_clips`: clips with a second or more of silence. `clipped`: share of clipped samples.
    `clicks`: clicks at the `borders` between streamed pieces.
    """

    guidance: float
    clips: int
    seconds: float
    answers: tuple[AxisScore, ...]
    silent_clips: int
    clipped: float
    borders: int
    clicks: int

    def to_mapping(self) -> dict[str, Any]:
        """Convert to plain JSON types."""
        mapping = asdict(self)
        mapping["answers"] = {
            score.axis: {
                "pairs": score.pairs,
                "right": score.right,
                "share": score.share,
                "interval": list(score.interval),
            }
            for score in self.answers
        }
        return mapping


@dataclass(frozen=True)
class Evaluation:
    """Evaluation of one model; `likelihood` is None without given music."""

    model: str
    adherence: tuple[Adherence, ...]
    likelihood: Likelihood | None

    def to_mapping(self) -> dict[str, Any]:
        """Convert to plain JSON types."""
        return {
            "model": self.model,
            "adherence": [adherence.to_mapping() for adherence in self.adherence],
            "likelihood": self.likelihood.to_mapping() if self.likelihood else None,
        }


@dataclass(frozen=True)
class EvaluationPlan:
    """Size of an evaluation: `count` pairs of each axis, each with `seeds` seeds.

    Every pair has its own seed, shared by its two clips.
    """

    count: int = 40
    seeds: int = 1
    seed: int = 0
    seconds: float = 4.0
    top_k: int = TOP_K_DEFAULT


@dataclass(frozen=True)
class _Clip:
    """A streamed clip; `borders`: first sample of each piece but the first."""

    sound: Sound
    borders: tuple[int, ...]


def evaluate(
    settings: Settings,
    plan: EvaluationPlan,
    guidance: Sequence[float],
    music: Path | None = None,
    on_progress: OnProgress = lambda _done, _total: None,
) -> Evaluation:
    """Evaluate a model at each guidance scale.

    `music`: a folder for `read_music`, to measure its likelihood too. `on_progress`: called with
    the number of finished clips and of all clips.

    Raises: the errors of loading, `InvalidInputAudio` for unusable `music`, `SettingsError` for
    `music` with the transformers engine.
    """
    source = obtain(settings)
    use_threads(settings.threads or cpu_quota())
    engine = load_engine(source.folder, source.name, settings, source.adapter)
    try:
        likelihood = _likelihood(engine, music, on_progress) if music else None
        adherence = tuple(_adherence(engine, plan, scale, on_progress) for scale in guidance)
    finally:
        engine.close()
    return Evaluation(source.label, adherence, likelihood)


def _likelihood(engine: Engine, music: Path, on_progress: OnProgress) -> Likelihood:
    if not isinstance(engine, MusicGenEngine):
        problem = "must be musicgen to measure likelihood"
        raise SettingsError("MUSICGEN_ENGINE", problem, value=engine.name)
    described = read_music(music, engine.config.sample_rate, engine.config.channels)
    return measure_likelihood(described, engine.negative_log_likelihood, on_progress)


def _adherence(
    engine: Engine, plan: EvaluationPlan, guidance: float, on_progress: OnProgress
) -> Adherence:
    rate = engine.config.sample_rate
    all_pairs = [pair for pair in build_pairs(plan.count) for _ in range(plan.seeds)]
    seeded_pairs = [(pair, plan.seed + index) for index, pair in enumerate(all_pairs)]
    clips: list[_Clip] = []
    for clip in _clips(engine, seeded_pairs, plan, guidance):
        clips.append(clip)
        on_progress(len(clips), 2 * len(seeded_pairs))
    outcomes: dict[str, list[bool]] = {}
    for (pair, _), more, less in zip(seeded_pairs, clips[::2], clips[1::2], strict=True):
        right = pair.measure(more.sound, rate) > pair.measure(less.sound, rate)
        outcomes.setdefault(pair.axis, []).append(right)
    return Adherence(
        guidance=guidance,
        clips=len(clips),
        seconds=plan.seconds,
        answers=tuple(AxisScore(axis, len(right), sum(right)) for axis, right in outcomes.items()),
        silent_clips=sum(longest_silence(clip.sound, rate) >= SILENT_SECONDS for clip in clips),
        clipped=float(np.mean([clipping_share(clip.sound) for clip in clips])),
        borders=sum(len(clip.borders) for clip in clips),
        clicks=sum(count_clicks(clip.sound, clip.borders, rate) for clip in clips),
    )


def _clips(
    engine: Engine, seeded_pairs: Sequence[tuple[Pair, int]], plan: EvaluationPlan, guidance: float
) -> Iterator[_Clip]:
    """Yield two clips of each pair, at the model's own level."""
    sampling = SamplingParams(top_k=plan.top_k, guidance=guidance)
    rows = [
        Row(prompt, seed, sampling)
        for pair, seed in seeded_pairs
        for prompt in (pair.more, pair.less)
    ]
    frames = max(1, round(plan.seconds * engine.config.frame_rate))
    for start in range(0, len(rows), ROWS_AT_ONCE):
        together = tuple(rows[start : start + ROWS_AT_ONCE])
        pieces: list[list[Sound]] = [[] for _ in together]
        for progress in engine.generate(GenerationJob(together, frames, stream=True)):
            for parts, pcm in zip(pieces, progress.pcm, strict=False):
                parts.append(pcm.mean(axis=1, dtype=np.float32))
        for parts in pieces:
            ends = itertools.accumulate(len(part) for part in parts)
            yield _Clip(np.concatenate(parts), tuple(ends)[:-1])
