"""`musicgen evaluate`: measurement of how well music follows its prompts."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from handlers.cli.options import Commands, add_model_options, build_number
from musicgen.errors import InvalidRequest
from musicgen.errors.counts import format_count
from musicgen.request.limits import (
    DURATION_MAX_SECONDS,
    DURATION_MIN_SECONDS,
    TOP_K_DEFAULT,
    TOP_K_MAX,
)
from musicgen.settings import Settings

if TYPE_CHECKING:
    from musicgen.evaluation.evaluate import Evaluation
    from musicgen.evaluation.likelihood import Nats

PAIRS_MAX, SEEDS_MAX, GUIDANCE_MAX = 10_000, 10_000, 100


def add(commands: Commands) -> None:
    """Add the command `evaluate`."""
    parser = commands.add_parser(
        "evaluate", help="measure whether the music follows its prompts; the last line is JSON"
    )
    add_model_options(parser)
    add = parser.add_argument
    add(
        "--pairs",
        type=build_number(int, 1, PAIRS_MAX),
        default=40,
        metavar="N",
        help="pairs of prompts of each kind (default: %(default)s)",
    )
    add(
        "--seeds",
        type=build_number(int, 1, SEEDS_MAX),
        default=1,
        metavar="N",
        help="seeds for each pair (default: %(default)s)",
    )
    add(
        "--duration",
        type=build_number(float, DURATION_MIN_SECONDS, DURATION_MAX_SECONDS),
        default=4.0,
        metavar="S",
        help="seconds of a clip (default: %(default)g)",
    )
    add(
        "--top-k",
        type=build_number(int, 1, TOP_K_MAX),
        default=TOP_K_DEFAULT,
        metavar="N",
        help="sample from the k most likely tokens (default: %(default)s)",
    )
    add(
        "--guidance",
        type=build_number(float, 0, GUIDANCE_MAX),
        nargs="+",
        default=[1.0, 3.0],
        metavar="SCALE",
        help="guidance scales to compare (default: 1 3)",
    )
    add(
        "--music",
        type=Path,
        metavar="DIR",
        help="also measure the likelihood of music in DIR: NAME.wav (flac, ...) with its prompt "
        "in NAME.txt",
    )
    parser.set_defaults(run=_evaluate, names={"music": "--music"})


def _evaluate(options: argparse.Namespace, settings: Settings) -> int:
    from tqdm import tqdm

    from musicgen.evaluation.evaluate import EvaluationPlan, evaluate

    if options.music is not None and not (
        options.music.is_dir() and os.access(options.music, os.R_OK | os.X_OK)
    ):
        problem = "must be an existing folder that you may read"
        raise InvalidRequest("--music", problem, value=options.music)
    plan = EvaluationPlan(options.pairs, options.seeds, 0, options.duration, options.top_k)
    with tqdm(file=sys.stderr, desc="clips", leave=False, disable=None) as bar:

        def show_progress(done: int, total: int) -> None:
            if done < bar.n:
                bar.reset()
            bar.total = total
            bar.update(done - bar.n)

        result = evaluate(settings, plan, options.guidance, options.music, show_progress)
    sys.stdout.write("\n".join(_lines(result)) + "\n")
    sys.stdout.write(json.dumps(result.to_mapping()) + "\n")
    return 0


def _lines(result: Evaluation) -> Iterator[str]:
    if result.likelihood is not None:
        clips = format_count(result.likelihood.clips, "clip")
        yield f"{result.model}, nats for each token of {clips}:"
        for name in ("own_prompt", "no_prompt", "another_prompt"):
            nats: Nats = getattr(result.likelihood, name)
            low, high = nats.interval
            books = ", ".join(f"{mean:.2f}" for mean in nats.codebooks)
            yield (
                f"  {name.replace('_', ' '):<14} {nats.mean:.3f} "
                f"(95 % interval {low:.3f} to {high:.3f}); by codebook {books}"
            )
    for adherence in result.adherence:
        clips = format_count(adherence.clips, "clip")
        yield f"{result.model}, guidance {adherence.guidance:g}, {clips}:"
        for score in adherence.answers:
            low, high = score.interval
            yield (
                f"  {score.axis:<9} {score.right}/{score.pairs} right, {score.share:.0%} "
                f"(95 % interval {low:.0%} to {high:.0%}; chance is 50 %)"
            )
        yield (
            f"  {format_count(adherence.silent_clips, 'clip')} with a second of silence, "
            f"{adherence.clipped:.3%} of samples clipped, "
            f"{format_count(adherence.clicks, 'click')} at "
            f"{format_count(adherence.borders, 'border')} of streamed pieces"
        )
