"""`musicgen generate`: clips from a prompt, on this machine."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from handlers.cli.options import (
    Commands,
    add_model_options,
    add_request_options,
    parse_request,
    parse_url,
)
from handlers.cli.paths import check_output
from handlers.cli.progress import ProgressLine
from musicgen.errors import MissingDependency, NotWritable
from musicgen.errors.counts import format_count
from musicgen.midi.packages import EXTENSION as MIDI_EXTENSION
from musicgen.request import GenerationRequest
from musicgen.result import GenerationResult
from musicgen.settings import Settings

if TYPE_CHECKING:
    from musicgen.generation import Generation
    from musicgen.storage.base import ClipName


def add(commands: Commands) -> None:
    """Register the command."""
    parser = commands.add_parser("generate", help="make clips from a prompt")
    add_model_options(parser)
    add_request_options(parser, "a new folder below outputs, or MUSICGEN_DATA_DIR")
    add = parser.add_argument
    add("--plot", type=Path, metavar="FILE.png", help="draw waveform and spectrogram (extra plot)")
    add("--manifest", action="store_true", help="write how it was made beside the clips, as JSON")
    add(
        "--server",
        type=parse_url,
        metavar="URL",
        help="have a job API make it; MUSICGEN_API_KEY is its key",
    )
    add("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=_generate, interrupted="Interrupted; nothing was written.")


def _generate(options: argparse.Namespace, settings: Settings) -> int:
    request = parse_request(options)
    if options.server is not None:
        from handlers.cli.generate_remote import ask_server

        return ask_server(request, options)
    if options.plot is not None:
        check_output("--plot", options.plot, (".png",))
        if find_spec("matplotlib") is None:
            raise MissingDependency("matplotlib", "--plot", "plot")
    from musicgen.predictor import Predictor
    from musicgen.storage.local import LocalStorage

    storage = LocalStorage(settings.data_dir)
    if options.output is not None:
        storage = LocalStorage(options.output.parent, _key_after(options.output))
    settings = replace(settings, manifest=settings.manifest or options.manifest)
    predictor = Predictor.load(settings, storage)
    result = _with_progress_bar(predictor.start(request), request, sys.stderr)
    # Before the plot: where it fails, the clip is there all the same.
    sys.stdout.write(
        json.dumps(result.to_mapping(), indent=2) if options.json else _describe(result)
    )
    sys.stdout.write("\n")
    if options.plot is not None:
        _plot(result, options.plot)
    return 0


def _key_after(output: Path) -> Callable[[ClipName], str]:
    def key(clip: ClipName) -> str:
        if clip.extension == "json":
            return f"{output.stem}.json"
        number = f"-{clip.index + 1}" if clip.count > 1 else ""
        is_clip = not clip.part and clip.extension != MIDI_EXTENSION
        return f"{output.stem}{number}{output.suffix if is_clip else clip.suffix}"

    return key


def _with_progress_bar(
    generation: Generation, request: GenerationRequest, stream: TextIO
) -> GenerationResult:
    if not stream.isatty():
        return _with_progress_lines(generation, stream)
    from tqdm import tqdm

    audio = request.seconds * len(request.texts)
    layout = (
        "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} steps, {remaining} left{postfix}"
    )
    # The first one knows the number of steps.
    first = next(generation)
    with tqdm(
        total=first.total, file=stream, desc="decoding", bar_format=layout, leave=False
    ) as bar:
        for progress in chain([first], generation):
            bar.update(progress.done - bar.n)
            elapsed = bar.format_dict["elapsed"]
            bar.set_postfix_str(
                f"real-time factor {elapsed / (audio * progress.fraction):.2f}", refresh=False
            )
    return generation.result()


def _with_progress_lines(generation: Generation, stream: TextIO) -> GenerationResult:
    line, began = ProgressLine(stream), time.monotonic()
    for progress in generation:
        text = f"decoding: {progress.done} of {format_count(progress.total, 'step')}"
        if progress.fraction > 0.05:
            left = (time.monotonic() - began) * (1 / progress.fraction - 1)
            text += f", {left:.0f} s left"
        line.show(text)
    return generation.result()


def _plot(result: GenerationResult, path: Path) -> None:
    from musicgen.audio.decode import read_audio
    from musicgen.audio.plot import plot_clip

    # It reports its cache of fonts.
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    pcm, sample_rate = read_audio(Path(result.clips[0].address))
    try:
        plot_clip(pcm, sample_rate, path, title=result.prompt)
    except OSError as error:
        raise NotWritable(f"cannot write the plot {path}: {error.strerror}") from error


def _describe(result: GenerationResult) -> str:
    lines = []
    for clip in result.clips:
        loudness = "" if clip.loudness_lufs is None else f", {clip.loudness_lufs:.1f} LUFS"
        lines.append(
            f"{clip.address}: {clip.seconds:g} s, seed {clip.seed}, {clip.sample_rate} Hz, "
            f"{'stereo' if clip.channels == 2 else 'mono'}{loudness}"
        )
        lines += [f"{part.address}: {part.name}" for part in clip.parts]
    lines.append(
        f"model {result.model} (licence {result.licence}), engine {result.engine} on "
        f"{result.device} in {result.precision}: real-time factor "
        f"{result.real_time_factor:.2f} ({1 / result.real_time_factor:.1f} s of music a second)"
    )
    lines += [f"note: {note}" for note in result.notes]
    return "\n".join(lines)
