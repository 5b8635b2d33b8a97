"""`musicgen call`: a request to a remote deployment."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from handlers.cli.options import Commands, add_request_options, build_number, parse_request
from musicgen.catalog import MUSICGEN_LICENCE
from musicgen.errors import NotWritable
from musicgen.errors.counts import format_count
from musicgen.settings import RemoteTokens, Settings

TIMEOUT_SECONDS, TIMEOUT_MAX = 900.0, 86_400


def add(commands: Commands) -> None:
    """Add the command `call`."""
    parser = commands.add_parser(
        "call", help="generate on a deployment on Replicate, RunPod, Hugging Face or at a URL"
    )
    add = parser.add_argument
    add(
        "--target",
        required=True,
        metavar="TARGET",
        help="replicate, runpod, hf, or the URL of a MusicGen container",
    )
    add("--name", help="OWNER/MODEL on Replicate, endpoint id on RunPod, the endpoint's URL on hf")
    add(
        "--model",
        dest="model_version",
        help="a name from `musicgen models` (default: the loaded model). Meta's weights are "
        f"{MUSICGEN_LICENCE}: no commercial use",
    )
    add(
        "--timeout",
        type=build_number(float, 0, TIMEOUT_MAX, above=True),
        default=TIMEOUT_SECONDS,
        metavar="S",
        help="seconds to wait in total, including a cold start (default: %(default)g)",
    )
    add_request_options(parser, "musicgen.wav, or with --format its ending")
    parser.set_defaults(names={"target": "--target", "name": "--name"})
    parser.set_defaults(run=_call)


def _call(options: argparse.Namespace, _: Settings) -> int:
    from musicgen.remote.factory import open_remote
    from musicgen.remote.fields import build_fields
    from musicgen.storage.local import write_atomically

    request = parse_request(options)
    output = options.output or Path(f"musicgen.{request.output_format}")
    remote = open_remote(options.target, options.name, RemoteTokens.from_env(), options.timeout)
    clips = remote.generate(build_fields(request), _ProgressPrinter())
    for index, clip in enumerate(clips):
        path = output if len(clips) == 1 else output.with_stem(f"{output.stem}-{index + 1}")
        try:
            write_atomically(path, [clip.data])
        except OSError as error:
            raise NotWritable(f"cannot write {path}: {error.strerror}") from error
        seed = "" if clip.seed is None else f", seed {clip.seed}"
        size = format_count(len(clip.data), "byte")
        sys.stdout.write(f"{path}: {size} of {clip.content_type}{seed}\n")
    return 0


class _ProgressPrinter:
    """Printer of progress lines on standard error, without repeats."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, line: str) -> None:
        if line != self._last:
            sys.stderr.write(f"{line}\n")
            self._last = line
