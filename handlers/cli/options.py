"""What several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from musicgen.errors import InvalidRequest
from musicgen.request import (
    BIT_DEPTHS,
    DURATION_DEFAULT_SECONDS,
    DURATION_MAX_SECONDS,
    DURATION_MIN_SECONDS,
    GUIDANCE_DEFAULT,
    NORMALIZATION_STRATEGIES,
    OUTPUT_FORMATS,
    PROMPT_MAX_CHARACTERS,
    SEED_MAX,
    STRIDE_DEFAULT_SECONDS,
    STRIDE_MAX_SECONDS,
    STRIDE_MIN_SECONDS,
    TOP_K_DEFAULT,
    TOP_K_MAX,
    VARIATIONS_MAX,
    GenerationRequest,
)
from musicgen.request.postprocessing import (
    BEATS_DEFAULT,
    BEATS_MAX,
    BEATS_MIN,
    BITRATES,
    BPM_MAX,
    BPM_MIN,
    FADE_MAX_SECONDS,
    LOUDNESS_DEFAULT_LUFS,
    LOUDNESS_MAX_LUFS,
    LOUDNESS_MIN_LUFS,
    SAMPLE_RATES,
)
from musicgen.settings import ENGINES, PRECISIONS

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Commands = argparse._SubParsersAction

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="a name from `musicgen models`, a folder or a hub name")
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", choices=PRECISIONS)
    parser.add_argument("--engine", choices=ENGINES)


def request_options(parser: argparse.ArgumentParser) -> None:
    """The fields of a request that are the same wherever it runs, and where the clip goes."""
    add = parser.add_argument
    add(
        "prompts",
        nargs="*",
        metavar="PROMPT",
        help="what the music should sound like, in up to "
        f"{PROMPT_MAX_CHARACTERS} characters; several make several clips",
    )
    add(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="where to write (variations get -1, -2, ...)",
    )
    add(
        "--duration",
        type=float,
        default=DURATION_DEFAULT_SECONDS,
        metavar="S",
        help=f"{_range(DURATION_MIN_SECONDS, DURATION_MAX_SECONDS)} seconds (default: %(default)g)",
    )
    add(
        "--sections",
        metavar="JSON",
        help='one clip whose prompt changes: \'[{"prompt": "calm piano", "duration": 20}, ...]\'',
    )
    add("--negative-prompt", default="", metavar="TEXT", help="what it should not sound like")
    add(
        "--extend-stride",
        type=float,
        default=STRIDE_DEFAULT_SECONDS,
        metavar="S",
        help="over 30 s: how much of each window of 30 s is new, "
        f"{_range(STRIDE_MIN_SECONDS, STRIDE_MAX_SECONDS)} seconds (default: %(default)g)",
    )
    add("--seed", type=int, metavar="N", help=f"0 to {SEED_MAX} (default: random, and told)")
    add(
        "--variations",
        type=int,
        default=1,
        metavar="N",
        help=f"1 to {VARIATIONS_MAX} clips with seed, seed+1, ...",
    )
    finish_options(parser)
    sampling_options(parser)
    clip_options(parser)


def sampling_options(parser: argparse.ArgumentParser) -> None:
    """How tokens are chosen."""
    add = parser.add_argument
    add(
        "--temperature",
        type=float,
        default=1.0,
        help="from 0, which is greedy (default: %(default)g)",
    )
    add("--top-k", type=int, default=TOP_K_DEFAULT, help=f"0 to {TOP_K_MAX} (default: %(default)s)")
    add("--top-p", type=float, default=0.0, help="0 to 1; wins over top-k when above 0")
    add(
        "--guidance",
        dest="classifier_free_guidance",
        type=float,
        default=GUIDANCE_DEFAULT,
        help="how closely to follow the prompt, from 1 (default: %(default)g)",
    )


def clip_options(parser: argparse.ArgumentParser) -> None:
    """A melody, or music to continue."""
    add = parser.add_argument
    add(
        "--input-audio",
        type=Path,
        metavar="FILE",
        help="a melody to follow (melody models), or with --continuation music to continue",
    )
    add("--continuation", action="store_true", help="continue the input audio")
    add(
        "--continuation-start",
        type=float,
        default=0.0,
        metavar="S",
        help="with --continuation: where the part to continue begins (default: %(default)g)",
    )
    add(
        "--continuation-end",
        type=float,
        default=-1.0,
        metavar="S",
        help="where it ends; -1 is the clip's end (default: %(default)g)",
    )


def finish_options(parser: argparse.ArgumentParser) -> None:
    """What is done to the music when it has been made, and the file's form."""
    add = parser.add_argument
    add("--loop", action="store_true", help="whole bars that go on into themselves; needs --bpm")
    add("--bpm", type=float, metavar="N", help=f"{_range(BPM_MIN, BPM_MAX)}, of a loop")
    add(
        "--beats-per-bar",
        type=int,
        default=BEATS_DEFAULT,
        metavar="N",
        help=f"{BEATS_MIN} to {BEATS_MAX}, of a loop (default: %(default)s)",
    )
    add("--trim-silence", action="store_true", help="cut silence off both ends")
    fade = f"{_range(0, FADE_MAX_SECONDS)} seconds (default: %(default)g)"
    add("--fade-in", type=float, default=0.0, metavar="S", help=fade)
    add("--fade-out", type=float, default=0.0, metavar="S", help=fade)
    add(
        "--no-steady-level",
        dest="steady_level",
        action="store_false",
        help="leave slow drifts of the level in music of over 30 s",
    )
    add(
        "--normalization",
        dest="normalization_strategy",
        default="loudness",
        help=f"{', '.join(NORMALIZATION_STRATEGIES)} (default: %(default)s)",
    )
    add(
        "--target-loudness",
        type=float,
        default=LOUDNESS_DEFAULT_LUFS,
        metavar="LUFS",
        help=f"{_range(LOUDNESS_MIN_LUFS, LOUDNESS_MAX_LUFS)} (default: %(default)g)",
    )
    add(
        "--format",
        dest="output_format",
        metavar="FORMAT",
        help=f"{', '.join(OUTPUT_FORMATS)} (default: FILE's ending, or wav)",
    )
    add("--bit-depth", default="16", help=f"{', '.join(BIT_DEPTHS)}, for wav and flac")
    rates = ", ".join(map(str, SAMPLE_RATES))
    add("--sample-rate", type=int, metavar="HZ", help=f"{rates} (default: the model's)")
    add(
        "--save-tokens",
        action="store_true",
        help="keep in a wav or flac what it was made of, to continue it from there",
    )
    rates = f"{BITRATES[0]} to {BITRATES[-1]}, as MPEG has them"
    add("--bitrate", type=int, metavar="KBIT", help=f"{rates}; of mp3 (default: 320) and opus")


def request_from(options: argparse.Namespace) -> GenerationRequest:
    """Raises: `InvalidRequest`."""
    fields = GenerationRequest.__dataclass_fields__
    payload = {name: value for name, value in vars(options).items() if name in fields}
    if len(options.prompts) < 2:
        payload["prompt"], payload["prompts"] = "".join(options.prompts), None
    ending = options.output.suffix.removeprefix(".").lower() if options.output else ""
    payload["output_format"] = payload["output_format"] or ending or None
    request = GenerationRequest.from_mapping(payload)
    if ending and ending != request.output_format:
        raise InvalidRequest(
            "output",
            options.output.name,
            f"the format is {request.output_format}: let the file end in that",
        )
    return request


def _range(low: float, high: float) -> str:
    return f"{low:g} to {high:g}"
