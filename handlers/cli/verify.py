"""`musicgen verify`: comparison of greedy tokens with transformers."""

from __future__ import annotations

import argparse
import sys

from handlers.cli.options import Commands, add_model_options, build_number
from handlers.cli.statuses import EXIT_FAILED, EXIT_NOT_COMPARED
from musicgen.process.lazy_torch import import_torch
from musicgen.request import GenerationRequest
from musicgen.request.limits import DURATION_MAX_SECONDS, DURATION_MIN_SECONDS
from musicgen.settings import Settings


def add(commands: Commands) -> None:
    """Add the command `verify`."""
    parser = commands.add_parser("verify", help="compare greedy tokens with those of transformers")
    add_model_options(parser)
    parser.add_argument(
        "--prompt", default="slow calm piano", help="text of the clip (default: %(default)r)"
    )
    parser.add_argument(
        "--duration",
        type=build_number(float, DURATION_MIN_SECONDS, DURATION_MAX_SECONDS),
        default=1.0,
        metavar="S",
        help="seconds to decode (default: %(default)g)",
    )
    parser.set_defaults(run=_verify)


def _verify(options: argparse.Namespace, settings: Settings) -> int:
    import_torch("musicgen verify")
    from musicgen.evaluation.verify import NotCompared, verify

    request = GenerationRequest(prompt=options.prompt, duration=options.duration)
    difference = verify(settings, request.prompt, request.duration)
    if difference is None:
        sys.stdout.write(f"identical: {settings.model}, {options.duration:g} s, greedy\n")
        return 0
    if isinstance(difference, NotCompared):
        sys.stdout.write(
            f"not compared: {settings.model} runs with transformers only, because this project's "
            f"engine cannot load it ({difference.reason.rstrip('.')})\n"
        )
        return EXIT_NOT_COMPARED
    sys.stdout.write(
        f"different with guidance {difference.guidance:g}: first at frame {difference.frame}, "
        f"codebook {difference.codebook}: {difference.ours} instead of {difference.theirs}\n"
    )
    return EXIT_FAILED
