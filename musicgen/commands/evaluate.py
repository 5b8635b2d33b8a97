"""`musicgen evaluate`: whether a model's music is what its prompts say."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from musicgen.commands.options import Commands, add_model_options
from musicgen.settings import Settings

if TYPE_CHECKING:
    from musicgen.evaluation.evaluate import Evaluation


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
    add("--top-k", type=_positive, default=50, help="default: %(default)s")
    add(
        "--guidance",
        type=float,
        nargs="+",
        default=[1.0, 3.0],
        help="scales to compare (default: 1 3)",
    )
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace, settings: Settings) -> int:
    from tqdm import tqdm

    from musicgen.evaluation.evaluate import Plan, evaluate

    plan = Plan(options.pairs, options.seeds, 0, options.duration, options.top_k)
    with tqdm(file=sys.stderr, desc="clips", leave=False) as bar:

        def told(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        results = evaluate(settings, plan, options.guidance, told)
    sys.stdout.write(_table(results))
    sys.stdout.write(json.dumps([each.to_mapping() for each in results]) + "\n")
    return 0


def _table(results: list[Evaluation]) -> str:
    lines = []
    for each in results:
        lines.append(f"{each.model}, guidance {each.guidance:g}, {each.clips} clips:")
        for answer in each.answers:
            low, high = answer.interval
            lines.append(
                f"  {answer.axis:<9} {answer.right}/{answer.pairs} right, {answer.share:.0%} "
                f"(95 % interval {low:.0%} to {high:.0%}; a guess is 50 %)"
            )
        lines.append(f"  silence {each.silent:.1%}, clipped samples {each.clipped:.2%}")
    return "\n".join(lines) + "\n"


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("a whole number from 1")
    return int(text)
