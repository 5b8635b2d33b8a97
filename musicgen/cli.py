"""The command line: `musicgen generate | models | verify`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from musicgen import __version__, catalog
from musicgen.errors import InvalidRequest, MissingDependency, MusicGenError, NotWritable
from musicgen.request import (
    BIT_DEPTHS,
    DURATION_DEFAULT_SECONDS,
    DURATION_MAX_SECONDS,
    GUIDANCE_DEFAULT,
    NORMALIZATION_STRATEGIES,
    OUTPUT_FORMATS,
    TOP_K_DEFAULT,
    GenerationRequest,
)
from musicgen.result import GenerationResult
from musicgen.settings import ENGINES, PRECISIONS, Settings

if TYPE_CHECKING:
    from musicgen.generation import Generation
    from musicgen.storage.base import ClipName

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, 1 failed, 2 bad input, 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        settings = _settings(options)
        logging.basicConfig(level=settings.log_level, format="%(message)s")
        status: int = options.run(options, settings)
    except InvalidRequest as error:
        return _complain(error, EXIT_BAD_INPUT)
    except MusicGenError as error:
        return _complain(error, EXIT_FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted: nothing was written", EXIT_INTERRUPTED)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="musicgen",
        description="Music from text, on your own machine.",
        epilog=f"Meta's MusicGen weights are licensed {catalog.MUSICGEN_LICENCE}: "
        "not for commercial use.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_generate(commands.add_parser("generate", help="make clips from a prompt"))
    models = commands.add_parser("models", help="list the models, their licence and memory")
    models.add_argument("--json", action="store_true", help="print JSON")
    models.set_defaults(run=_models)
    verify = commands.add_parser(
        "verify", help="compare greedy tokens with transformers' on a model's own weights"
    )
    _add_model_options(verify)
    verify.add_argument("--prompt", default="slow calm piano", help="default: %(default)r")
    verify.add_argument(
        "--duration",
        type=float,
        default=1.0,
        metavar="S",
        help="seconds to decode (default: %(default)g)",
    )
    verify.set_defaults(run=_verify)
    return parser


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", metavar="PROMPT", help="what the music should sound like")
    _add_model_options(parser)
    add = parser.add_argument
    add(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="where to write (variations get -1, -2, ...; default: below $MUSICGEN_DATA_DIR)",
    )
    add(
        "--duration",
        type=float,
        default=DURATION_DEFAULT_SECONDS,
        metavar="S",
        help=f"seconds, up to {DURATION_MAX_SECONDS:g} (default: %(default)g)",
    )
    add("--seed", type=int, metavar="N", help="from 0 to 2^32-1 (default: random, and told)")
    add("--variations", type=int, default=1, metavar="N", help="clips with seed, seed+1, ...")
    add(
        "--format",
        dest="output_format",
        metavar="FORMAT",
        help=f"{', '.join(OUTPUT_FORMATS)} (default: FILE's ending, or wav)",
    )
    add("--bit-depth", default="16", help=f"{', '.join(BIT_DEPTHS)}, for wav and flac")
    add("--temperature", type=float, default=1.0, help="0 is greedy (default: %(default)g)")
    add("--top-k", type=int, default=TOP_K_DEFAULT, help="default: %(default)s")
    add("--top-p", type=float, default=0.0, help="wins over top-k when above 0")
    add(
        "--guidance",
        dest="classifier_free_guidance",
        type=float,
        default=GUIDANCE_DEFAULT,
        help="how closely to follow the prompt, from 1 (default: %(default)g)",
    )
    add(
        "--normalization",
        dest="normalization_strategy",
        default="loudness",
        help=f"{', '.join(NORMALIZATION_STRATEGIES)} (default: %(default)s)",
    )
    add(
        "--input-audio",
        type=Path,
        metavar="FILE",
        help="a melody to follow (melody models), or with --continuation music to continue",
    )
    add("--continuation", action="store_true", help="continue the input audio")
    add("--continuation-start", type=float, default=0.0, metavar="S")
    add("--continuation-end", type=float, default=-1.0, metavar="S", help="-1 is the clip's end")
    add("--plot", type=Path, metavar="FILE.png", help="draw waveform and spectrogram")
    add("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=_generate)


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="a name from `musicgen models`, a folder or a hub name")
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", choices=PRECISIONS)
    parser.add_argument("--engine", choices=ENGINES)


def _settings(options: argparse.Namespace) -> Settings:
    """The environment's settings, overridden by the options that were given."""
    names = ("model", "device", "precision", "engine")
    given = {n: getattr(options, n) for n in names if getattr(options, n, None) is not None}
    return replace(Settings.from_env(), **given)


def _generate(options: argparse.Namespace, settings: Settings) -> int:
    request = _request(options)
    if options.plot is not None and find_spec("matplotlib") is None:
        raise MissingDependency("matplotlib", "--plot", "plot")
    from musicgen.predictor import Predictor
    from musicgen.storage.local import LocalStorage

    storage = LocalStorage(settings.data_dir)
    if options.output is not None:
        storage = LocalStorage(options.output.parent, _named_after(options.output))
    predictor = Predictor.load(settings, storage)
    result = _with_progress_bar(predictor.start(request), request, sys.stderr)
    if options.plot is not None:
        _plot(result, options.plot)
    sys.stdout.write(json.dumps(result.to_mapping(), indent=2) if options.json else _told(result))
    sys.stdout.write("\n")
    return 0


def _request(options: argparse.Namespace) -> GenerationRequest:
    fields = GenerationRequest.__dataclass_fields__
    payload = {name: value for name, value in vars(options).items() if name in fields}
    ending = options.output.suffix.removeprefix(".").lower() if options.output else ""
    payload["output_format"] = payload["output_format"] or ending or None
    request = GenerationRequest.from_mapping(payload)
    if ending and ending != request.output_format:
        raise InvalidRequest(
            "output",
            str(options.output),
            f"the format is {request.output_format}: let the file end in that",
        )
    return request


def _named_after(output: Path) -> Callable[[ClipName], str]:
    def key(clip: ClipName) -> str:
        return (
            output.name if clip.count == 1 else (f"{output.stem}-{clip.index + 1}{output.suffix}")
        )

    return key


def _with_progress_bar(
    generation: Generation, request: GenerationRequest, stream: TextIO
) -> GenerationResult:
    from tqdm import tqdm

    audio = request.duration * request.variations
    layout = (
        "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} steps, {remaining} left{postfix}"
    )
    # A log wants a line now and then, not every redraw.
    interval = 0.1 if stream.isatty() else 5.0
    with tqdm(
        file=stream, desc="decoding", bar_format=layout, leave=False, mininterval=interval
    ) as bar:
        for progress in generation:
            bar.total = progress.total
            bar.update(progress.done - bar.n)
            elapsed = bar.format_dict["elapsed"]
            bar.set_postfix_str(
                f"real-time factor {elapsed / (audio * progress.fraction):.2f}", refresh=False
            )
    return generation.result()


def _plot(result: GenerationResult, path: Path) -> None:
    from musicgen.audio.decode import read_audio
    from musicgen.audio.plot import plot_clip

    pcm, sample_rate = read_audio(Path(result.clips[0].address))
    try:
        plot_clip(pcm, sample_rate, path, title=result.prompt)
    except OSError as error:
        raise NotWritable(f"cannot write the plot {path}: {error.strerror}") from error


def _told(result: GenerationResult) -> str:
    lines = []
    for clip in result.clips:
        loudness = "" if clip.loudness_lufs is None else f", {clip.loudness_lufs:.1f} LUFS"
        lines.append(
            f"{clip.address}: {clip.seconds:g} s, seed {clip.seed}, {clip.sample_rate} Hz, "
            f"{'stereo' if clip.channels == 2 else 'mono'}{loudness}"
        )
    lines.append(
        f"model {result.model} (licence {result.licence}), engine {result.engine} on "
        f"{result.device} in {result.precision}: real-time factor "
        f"{result.real_time_factor:.2f} ({1 / result.real_time_factor:.1f} s of music a second)"
    )
    lines += [f"note: {note}" for note in result.notes]
    return "\n".join(lines)


def _models(options: argparse.Namespace, _: Settings) -> int:
    entries = list(catalog.CATALOG.values())
    if options.json:
        from dataclasses import asdict

        sys.stdout.write(json.dumps([asdict(entry) for entry in entries], indent=2) + "\n")
        return 0
    header = ("NAME", "FAMILY", "SOUND", "FLOAT32", "BFLOAT16", "LICENCE", "WEIGHTS")
    rows = [header, *(_model_row(entry) for entry in entries)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
    sys.stdout.write(
        "\nMemory is for weights and one clip of 30 s. "
        f"{catalog.MUSICGEN_LICENCE} forbids commercial use.\n"
    )
    return 0


def _model_row(entry: catalog.CatalogEntry) -> tuple[str, ...]:
    sizes = [entry.memory.get(precision) for precision in ("float32", "bfloat16")]
    memory = ["small" if size is None else f"{size / 1e9:.1f} GB" for size in sizes]
    sound = "stereo" if entry.channels == 2 else "mono"
    return (entry.name, entry.family, sound, *memory, entry.licence, entry.source)


def _verify(options: argparse.Namespace, settings: Settings) -> int:
    from musicgen.verify import verify

    difference = verify(settings, options.prompt, options.duration)
    if difference is None:
        sys.stdout.write(f"identical: {settings.model}, {options.duration:g} s, greedy\n")
        return 0
    sys.stdout.write(
        f"different with guidance {difference.guidance:g}: first at frame {difference.frame}, "
        f"codebook {difference.codebook}: {difference.ours} instead of {difference.theirs}\n"
    )
    return EXIT_FAILED


def _complain(message: object, status: int) -> int:
    sys.stderr.write(f"musicgen: {message}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
