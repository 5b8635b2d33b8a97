"""Cog's `run()` arguments to a `GenerationRequest`, and one generation driven to its output file.

Cog keeps one slot for a synchronous runner, so one `CogRun` does one prediction at a time. What it
says to the caller goes to standard output, which Cog returns as `logs`; what only the operator
should read goes through `logging`.
"""

from __future__ import annotations

import logging
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from handlers.contract import ServedPredictor, report_of
from musicgen.errors import InvalidInputAudio, MusicGenError
from musicgen.generation import Generation
from musicgen.request import GenerationRequest
from musicgen.result import GenerationResult, Progress

RANDOM_SEED = -1
"""What callers of MusicGen on Replicate send for "choose one"; 0 is a seed like any other."""
LINE_EVERY_SECONDS = 1.0
LINE_EVERY_FRACTION = 0.05
BAR_CHARACTERS = 10

logger = logging.getLogger(__name__)


class PredictionError(Exception):
    """What a caller of Cog reads: the code of a typed error and its text."""


class CogRun:
    """Runs predictions on `predictor`, whose clips lie in `folder` and nobody else's.

    A caller that names no model gets the one that was loaded first, whoever came in between.
    """

    def __init__(
        self,
        predictor: ServedPredictor,
        folder: Path,
        say: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._predictor = predictor
        self._folder = folder
        self._say = say or _say_on_stdout
        self._clock = clock
        self._default_model = predictor.model

    def __call__(
        self, arguments: Mapping[str, Any], record_metric: Callable[[str, Any], None]
    ) -> Path:
        """One prediction: the path of its clip, whose name no other prediction has.

        Raises: `PredictionError`; whatever is not an `Exception`, such as Cog's cancellation,
        passes through.
        """
        try:
            _empty(self._folder)
            request = request_from(arguments)
            self._use_model(request.model_version or self._default_model)
            generation = self._predictor.start(request)
            try:
                result = self._drive(generation, request.duration)
            finally:
                generation.close()
            self._report(result, record_metric)
            return _named_apart(result, self._folder)
        except Exception as error:
            if not isinstance(error, MusicGenError):
                logger.exception("a prediction failed unexpectedly")
            report = report_of(error)
            raise PredictionError(f"{report.code}: {report.text}") from None

    def _use_model(self, name: str) -> None:
        if name == self._predictor.model:
            return
        self._say(f"loading model {name} in place of {self._predictor.model}")
        self._predictor.switch_model(name)
        self._say(f"loaded {self._predictor.model} (licence {self._predictor.licence})")

    def _drive(self, generation: Generation, seconds: float) -> GenerationResult:
        started = last_time = self._clock()
        last_fraction = 0.0
        for progress in generation:
            now = self._clock()
            due = (
                now - last_time >= LINE_EVERY_SECONDS
                and progress.fraction - last_fraction >= LINE_EVERY_FRACTION
            )
            if due or progress.done == progress.total:
                self._say(progress_line(progress, now - started, seconds))
                last_time, last_fraction = now, progress.fraction
        return generation.result()

    def _report(self, result: GenerationResult, record_metric: Callable[[str, Any], None]) -> None:
        for name, value in metrics_of(result).items():
            record_metric(name, value)
        self._say(
            f"seed {result.seed}, model {result.model} (licence {result.licence}), "
            f"{result.seconds:g} s of audio in {result.timings.total:.1f} s"
        )
        for note in result.notes:
            self._say(f"note: {note}")


def request_from(arguments: Mapping[str, Any]) -> GenerationRequest:
    """The request that Cog's arguments ask for.

    Cog passes a local path or a file: URL of the caller's on as a plain text, unread, and what it
    fetched itself as an absolute path: only that is accepted, so no file of this machine is read.

    Raises: a subclass of `InvalidRequest`.
    """
    audio = arguments.get("input_audio")
    if audio is not None and not (isinstance(audio, Path) and audio.is_absolute()):
        raise InvalidInputAudio("input_audio", audio, "an http(s) URL or a data URI")
    given = dict(arguments)
    if given.get("seed") == RANDOM_SEED:
        given["seed"] = None
    return GenerationRequest.from_mapping(given)


def progress_line(progress: Progress, elapsed: float, seconds: float) -> str:
    """One line of `logs`. Replicate's clients read the percentage and the steps from its shape."""
    percent = int(progress.fraction * 100)
    bar = ("#" * int(progress.fraction * BAR_CHARACTERS)).ljust(BAR_CHARACTERS, ".")
    factor = elapsed / (progress.fraction * seconds)
    return (
        f"{percent}%|{bar}| {progress.done}/{progress.total} steps decoded, "
        f"real-time factor {factor:.2f}"
    )


def metrics_of(result: GenerationResult) -> dict[str, float | int | str]:
    """Cog's metrics of a prediction. Loudness is left out where none is defined."""
    clip = result.clips[0]
    metrics: dict[str, float | int | str] = {
        "seed": clip.seed,
        "model": result.model,
        "licence": result.licence,
        "audio_seconds": result.seconds,
        "decode_seconds": result.timings.decode,
        "real_time_factor": result.real_time_factor,
    }
    if clip.loudness_lufs is not None:
        metrics["loudness_lufs"] = clip.loudness_lufs
    return metrics


def _named_apart(result: GenerationResult, folder: Path) -> Path:
    """Moves the clip to a file named after its job: Cog uploads under the bare file name."""
    clip = Path(result.clips[0].address)
    return clip.rename(folder / f"{result.job_id}{clip.suffix}")


def _empty(folder: Path) -> None:
    """Deletes what earlier predictions left: Cog does not. It has read an output before it gives
    the slot to the next prediction, so nothing that is still being sent goes."""
    for entry in folder.glob("*"):
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _say_on_stdout(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
