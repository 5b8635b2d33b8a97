"""Measures a model: of each pair of prompts two clips with the same seed, and which has more."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from musicgen.engine.interface import Engine, GenerationJob, Row, run_to_end
from musicgen.engine.loading import load_engine
from musicgen.evaluation.measures import Sound, clipped_share, silent_share
from musicgen.evaluation.pairs import Pair, pairs
from musicgen.machine import cpu_quota
from musicgen.request import SamplingParams
from musicgen.settings import Settings
from musicgen.sources import locate

ROWS_AT_ONCE = 8
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
class Evaluation:
    """One model at one guidance scale; the shares are means over all clips."""

    model: str
    guidance: float
    clips: int
    seconds: float
    answers: tuple[Answer, ...]
    silent: float
    clipped: float

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
class Plan:
    """What is asked of a model: `count` pairs of each axis, each with `seeds` seeds from `seed`."""

    count: int = 40
    seeds: int = 1
    seed: int = 0
    seconds: float = 4.0
    top_k: int = 50


def evaluate(
    settings: Settings,
    plan: Plan,
    guidance: Sequence[float],
    told: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Evaluation]:
    """`told` is called with the clips done and all of them. Raises: what loading raises."""
    source = locate(settings.model)
    torch.set_num_threads(settings.threads or cpu_quota())
    engine = load_engine(source.folder, source.name, settings)
    asked = [(pair, plan.seed + i) for pair in pairs(plan.count) for i in range(plan.seeds)]
    total, done, results = 2 * len(asked) * len(guidance), 0, []
    for scale in guidance:
        sounds: list[Sound] = []
        for sound in _clips(engine, asked, plan, scale):
            sounds.append(sound)
            done += 1
            told(done, total)
        results.append(_evaluation(source.label, scale, plan, asked, sounds, engine))
    engine.close()
    return results


def _clips(
    engine: Engine, asked: Sequence[tuple[Pair, int]], plan: Plan, guidance: float
) -> Iterator[Sound]:
    """Two clips of each pair, at the level that the model gave them."""
    sampling = SamplingParams(top_k=plan.top_k, guidance=guidance)
    rows = [
        Row(prompt, seed, sampling) for pair, seed in asked for prompt in (pair.more, pair.less)
    ]
    frames = max(1, round(plan.seconds * engine.config.frame_rate))
    for start in range(0, len(rows), ROWS_AT_ONCE):
        job = GenerationJob(tuple(rows[start : start + ROWS_AT_ONCE]), frames)
        for pcm in run_to_end(engine.generate(job)).pcm:
            yield pcm.mean(axis=1, dtype=np.float32)


def _evaluation(
    model: str,
    guidance: float,
    plan: Plan,
    asked: Sequence[tuple[Pair, int]],
    sounds: Sequence[Sound],
    engine: Engine,
) -> Evaluation:
    rate = engine.config.sample_rate
    outcomes: dict[str, list[bool]] = {}
    for (pair, _), more, less in zip(asked, sounds[::2], sounds[1::2], strict=True):
        right = pair.measure(more, rate) > pair.measure(less, rate)
        outcomes.setdefault(pair.axis, []).append(right)
    return Evaluation(
        model=model,
        guidance=guidance,
        clips=len(sounds),
        seconds=plan.seconds,
        answers=tuple(Answer(axis, len(each), sum(each)) for axis, each in outcomes.items()),
        silent=float(np.mean([silent_share(sound, rate) for sound in sounds])),
        clipped=float(np.mean([clipped_share(sound) for sound in sounds])),
    )
