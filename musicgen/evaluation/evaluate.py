"""Measures a model: of each pair of prompts two clips with the same seed, and which has more.

The clips are streamed, so that what is measured is also what a listener hears while it is made.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from musicgen.checkpoints.locate import locate
from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.interface import Engine, GenerationJob, Row
from musicgen.engine.loading import load_engine
from musicgen.errors import SettingsError
from musicgen.evaluation.clicks import clicks
from musicgen.evaluation.likelihood import Likelihood, measure_likelihood, read_music
from musicgen.evaluation.measures import Sound, clipped_share, longest_silence
from musicgen.evaluation.pairs import Pair, pairs
from musicgen.process.resources import cpu_quota
from musicgen.request import SamplingParams
from musicgen.request.limits import TOP_K_DEFAULT
from musicgen.settings import Settings

Told = Callable[[int, int], None]
ROWS_AT_ONCE = 8
SILENT_SECONDS = 1.0
_Z = 1.959964
"""Of a 95 % interval."""


@dataclass(frozen=True)
class Answer:
    """How often the clips of an axis measured in the right order."""

    axis: str
    pairs: int
    right: int

    @property
    def share(self) -> float:
        return self.right / self.pairs

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, by Wilson's formula (1927)."""
        n, p = self.pairs, self.share
        centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
        return centre - half, centre + half


@dataclass(frozen=True)
class Adherence:
    """How far one model follows its prompts at one guidance scale, and how its clips sound.

    `silent_clips`: those that are silent for a second or longer. `clipped`: share of the samples.
    `clicks`: borders between streamed pieces, of `borders`, at which the waveform breaks.
    """

    guidance: float
    clips: int
    seconds: float
    answers: tuple[Answer, ...]
    silent_clips: int
    clipped: float
    borders: int
    clicks: int

    def to_mapping(self) -> dict[str, Any]:
        """As plain JSON types."""
        mapping = asdict(self)
        mapping["answers"] = {
            each.axis: {
                "pairs": each.pairs,
                "right": each.right,
                "share": each.share,
                "interval": list(each.interval),
            }
            for each in self.answers
        }
        return mapping


@dataclass(frozen=True)
class Evaluation:
    """Everything measured of one model; `likelihood` only of music that was given."""

    model: str
    adherence: tuple[Adherence, ...]
    likelihood: Likelihood | None

    def to_mapping(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "model": self.model,
            "adherence": [each.to_mapping() for each in self.adherence],
            "likelihood": self.likelihood.to_mapping() if self.likelihood else None,
        }


@dataclass(frozen=True)
class Plan:
    """What is asked of a model: `count` pairs of each axis, `seeds` times; no two pairs have the
    same seed, both clips of a pair do."""

    count: int = 40
    seeds: int = 1
    seed: int = 0
    seconds: float = 4.0
    top_k: int = TOP_K_DEFAULT


@dataclass(frozen=True)
class _Clip:
    """`borders`: where the pieces of its stream met."""

    sound: Sound
    borders: tuple[int, ...]


def evaluate(
    settings: Settings,
    plan: Plan,
    guidance: Sequence[float],
    music: Path | None = None,
    told: Told = lambda _done, _total: None,
) -> Evaluation:
    """`music`: a folder for `read_music`. `told` is called with the clips done and all of them.

    Raises: what loading raises, `InvalidInputAudio` for what is in `music`, `SettingsError` when
    the likelihood of music is asked of another engine than this project's.
    """
    source = locate(settings.model, base=settings.base_model)
    torch.set_num_threads(settings.threads or cpu_quota())
    engine = load_engine(source.folder, source.name, settings, source.adapter)
    try:
        likelihood = _likelihood(engine, music, told) if music else None
        adherence = tuple(_adherence(engine, plan, scale, told) for scale in guidance)
    finally:
        engine.close()
    return Evaluation(source.label, adherence, likelihood)


def _likelihood(engine: Engine, music: Path, told: Told) -> Likelihood:
    if not isinstance(engine, MusicGenEngine):
        raise SettingsError("MUSICGEN_ENGINE", engine.name, "likelihood needs the engine musicgen")
    described = read_music(music, engine.config.sample_rate, engine.config.channels)
    return measure_likelihood(described, engine.negative_log_likelihood, told)


def _adherence(engine: Engine, plan: Plan, guidance: float, told: Told) -> Adherence:
    rate = engine.config.sample_rate
    repeated = [pair for pair in pairs(plan.count) for _ in range(plan.seeds)]
    asked = [(pair, plan.seed + index) for index, pair in enumerate(repeated)]
    clips: list[_Clip] = []
    for clip in _clips(engine, asked, plan, guidance):
        clips.append(clip)
        told(len(clips), 2 * len(asked))
    outcomes: dict[str, list[bool]] = {}
    for (pair, _), more, less in zip(asked, clips[::2], clips[1::2], strict=True):
        right = pair.measure(more.sound, rate) > pair.measure(less.sound, rate)
        outcomes.setdefault(pair.axis, []).append(right)
    return Adherence(
        guidance=guidance,
        clips=len(clips),
        seconds=plan.seconds,
        answers=tuple(Answer(axis, len(each), sum(each)) for axis, each in outcomes.items()),
        silent_clips=sum(longest_silence(clip.sound, rate) >= SILENT_SECONDS for clip in clips),
        clipped=float(np.mean([clipped_share(clip.sound) for clip in clips])),
        borders=sum(len(clip.borders) for clip in clips),
        clicks=sum(clicks(clip.sound, clip.borders, rate) for clip in clips),
    )


def _clips(
    engine: Engine, asked: Sequence[tuple[Pair, int]], plan: Plan, guidance: float
) -> Iterator[_Clip]:
    """Two clips of each pair, at the level that the model gave them."""
    sampling = SamplingParams(top_k=plan.top_k, guidance=guidance)
    rows = [
        Row(prompt, seed, sampling) for pair, seed in asked for prompt in (pair.more, pair.less)
    ]
    frames = max(1, round(plan.seconds * engine.config.frame_rate))
    for start in range(0, len(rows), ROWS_AT_ONCE):
        together = tuple(rows[start : start + ROWS_AT_ONCE])
        pieces: list[list[Sound]] = [[] for _ in together]
        for progress in engine.generate(GenerationJob(together, frames, stream=True)):
            for heard, pcm in zip(pieces, progress.pcm, strict=False):
                heard.append(pcm.mean(axis=1, dtype=np.float32))
        for heard in pieces:
            ends = itertools.accumulate(len(piece) for piece in heard)
            yield _Clip(np.concatenate(heard), tuple(ends)[:-1])
