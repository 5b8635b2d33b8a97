"""`musicgen evaluate`: whether a model's music is what its prompts say."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from handlers.cli.options import Commands, add_model_options
from musicgen.request.limits import TOP_K_DEFAULT
from musicgen.settings import Settings

if TYPE_CHECKING:
    from musicgen.evaluation.evaluate import Evaluation
    from musicgen.evaluation.likelihood import Nats


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "evaluate", help="measure whether the music follows its prompts; the last line is JSON"
    )
    add_model_options(parser)
    add = parser.add_argument
    add(
        "--pairs",
        type=_positive,
        default=40,
        metavar="N",
        help="of each kind (default: %(default)s)",
    )
    add(
        "--seeds",
        type=_positive,
        default=1,
        metavar="N",
        help="of each pair (default: %(default)s)",
    )
    add("--duration", type=float, default=4.0, metavar="S", help="of a clip (default: %(default)g)")
    add("--top-k", type=_positive, default=TOP_K_DEFAULT, help="default: %(default)s")
    add(
        "--guidance",
        type=float,
        nargs="+",
        default=[1.0, 3.0],
        help="scales to compare (default: 1 3)",
    )
    add(
        "--music",
        type=Path,
        metavar="DIR",
        help="also the likelihood of the music in DIR: NAME.wav (flac, ...) with a prompt NAME.txt",
    )
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace, settings: Settings) -> int:
    from tqdm import tqdm

    from musicgen.evaluation.evaluate import Plan, evaluate

    plan = Plan(options.pairs, options.seeds, 0, options.duration, options.top_k)
    with tqdm(file=sys.stderr, desc="clips", leave=False) as bar:

        def told(done: int, total: int) -> None:
            if done < bar.n:
                bar.reset()
            bar.total = total
            bar.update(done - bar.n)

        result = evaluate(settings, plan, options.guidance, options.music, told)
    sys.stdout.write("\n".join(_lines(result)) + "\n")
    sys.stdout.write(json.dumps(result.to_mapping()) + "\n")
    return 0


def _lines(result: Evaluation) -> Iterator[str]:
    if result.likelihood is not None:
        yield f"{result.model}, nats for each token of {result.likelihood.clips} clips:"
        for name in ("own_prompt", "no_prompt", "another_prompt"):
            nats: Nats = getattr(result.likelihood, name)
            low, high = nats.interval
            books = ", ".join(f"{each:.2f}" for each in nats.codebooks)
            yield (
                f"  {name.replace('_', ' '):<14} {nats.mean:.3f} "
                f"(95 % interval {low:.3f} to {high:.3f}); by codebook {books}"
            )
    for each in result.adherence:
        yield f"{result.model}, guidance {each.guidance:g}, {each.clips} clips:"
        for answer in each.answers:
            low, high = answer.interval
            yield (
                f"  {answer.axis:<9} {answer.right}/{answer.pairs} right, {answer.share:.0%} "
                f"(95 % interval {low:.0%} to {high:.0%}; a guess is 50 %)"
            )
        yield (
            f"  {each.silent_clips} clips with a second of silence, "
            f"{each.clipped:.3%} of samples clipped, "
            f"{each.clicks} clicks at {each.borders} borders of streamed pieces"
        )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("a whole number from 1")
    return int(text)
