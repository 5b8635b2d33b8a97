"""Cog's `run()` arguments to a `GenerationRequest`, and a generation driven to its output files.

What is said to the caller goes to standard output, which Cog returns as `logs`: from the thread
that Cog called, because it tells by that whose line it is. What only the operator should read goes
through `logging`.
"""

from __future__ import annotations

import logging
import shutil
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from handlers.async_generation import Followed
from handlers.contract import ServedPredictor
from handlers.input_audio import with_input_audio
from handlers.reply import error_text
from handlers.serving import Serving
from musicgen.errors import DeviceFault, MusicGenError
from musicgen.generation import Generation
from musicgen.request import GenerationRequest, StreamForm
from musicgen.result import GenerationResult, Progress

LINE_EVERY_SECONDS = 1.0
LINE_EVERY_FRACTION = 0.05
BAR_CHARACTERS = 10
KEPT_SECONDS = 900.0
"""With several slots, how long an output file stays: Cog reads or uploads it after `run()` has
returned, and does not say when it has done so."""

RecordMetric = Callable[[str, Any], None]

logger = logging.getLogger(__name__)


class PredictionError(Exception):
    """What a caller of Cog reads: the code of a typed error and its text."""


class CogRun:
    """Runs predictions on `predictor`, whose clips lie in `folder` and nobody else's.

    With one slot a prediction deletes what earlier ones left. With several it deletes only what
    is older than `KEPT_SECONDS`: the output of another one may still be on its way.
    """

    def __init__(
        self,
        predictor: ServedPredictor,
        folder: Path,
        networks: tuple[str, ...] = (),
        say: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._serving = Serving(predictor)
        self._folder = folder
        self._networks = networks
        self._say = say or _say_on_stdout
        self._clock = clock
        self._default_model = predictor.model
        self._healthy = True

    @property
    def healthy(self) -> bool:
        """False after a fault of the device: no later prediction of this process can succeed."""
        return self._healthy

    async def one(self, arguments: Mapping[str, Any], record_metric: RecordMetric) -> str:
        """One clip: the path of its file, whose name no other prediction has, or its URL.

        Being cancelled stops the decode. Raises: `PredictionError`.
        """
        with self._told():
            lines = self._begin(arguments)
            # Fetching the audio blocks too, so it happens in the thread of the decode.
            async with Followed(lambda gave_up: self._started(arguments, None, gave_up)) as run:
                async for progress in run:
                    lines.tell(progress)
                result = await run.finished()
            return self._finish(result, record_metric)

    def pieces(
        self, arguments: Mapping[str, Any], record_metric: RecordMetric
    ) -> Generator[str, None, None]:
        """Files that each play by themselves, while the clip is made; the last is the whole clip,
        normalized, as `one` returns it. For one slot.

        Raises: `PredictionError`; whatever is not an `Exception`, such as Cog's cancellation,
        passes through.
        """
        with self._told():
            lines = self._begin(arguments)
            with self._started(arguments, "files") as generation:
                number = 0
                for progress in generation:
                    lines.tell(progress)
                    for audio in filter(None, progress.audio):
                        number += 1
                        yield self._piece(generation.job_id, number, arguments, audio)
                result = generation.result()
            yield self._finish(result, record_metric)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors as callers may see them."""
        try:
            yield
        except Exception as error:
            if isinstance(error, DeviceFault):
                self._healthy = False
            if not isinstance(error, MusicGenError) or isinstance(error, DeviceFault):
                logger.exception("a prediction failed unexpectedly")
            raise PredictionError(error_text(error)) from None

    def _begin(self, arguments: Mapping[str, Any]) -> ProgressLines:
        if self._serving.slots == 1:
            _empty(self._folder)
        else:
            _delete_older(self._folder, time.time() - KEPT_SECONDS)
        model = arguments.get("model_version") or self._default_model
        if not self._serving.has_loaded(model):
            self._say(f"loading model {_shown(model)}")
        return ProgressLines(self._say, self._clock, arguments)

    @contextmanager
    def _started(
        self,
        arguments: Mapping[str, Any],
        stream: StreamForm | None,
        gave_up: threading.Event | None = None,
    ) -> Iterator[Generation]:
        with with_input_audio(arguments, self._networks) as fields:
            request = GenerationRequest.from_mapping(fields)
            with self._serving.started(request, stream=stream, gave_up=gave_up) as generation:
                yield generation

    def _finish(self, result: GenerationResult, record_metric: RecordMetric) -> str:
        for name, value in metrics_of(result).items():
            record_metric(name, value)
        self._say(
            f"seed {result.seed}, model {_shown(result.model)} (licence {result.licence}), "
            f"{result.seconds:g} s of audio in {result.timings.total:.1f} s"
        )
        for note in result.notes:
            self._say(f"note: {note}")
        clip = Path(result.clips[0].address)
        if self._folder not in clip.parents:
            return result.clips[0].address
        # Cog uploads under the bare file name.
        named = clip.rename(self._folder / f"{result.job_id}{clip.suffix}")
        clip.parent.rmdir()
        return str(named)

    def _piece(self, job_id: str, number: int, arguments: Mapping[str, Any], audio: bytes) -> str:
        self._folder.mkdir(parents=True, exist_ok=True)
        suffix = arguments.get("output_format") or "wav"
        path = self._folder / f"{job_id}-{number:03d}.{suffix}"
        path.write_bytes(audio)
        return str(path)


class ProgressLines:
    """Tells the progress of one prediction: at most once a second and once in five percent, and
    its end."""

    def __init__(
        self, say: Callable[[str], None], clock: Callable[[], float], arguments: Mapping[str, Any]
    ) -> None:
        self._say = say
        self._clock = clock
        self._seconds = arguments.get("duration") or GenerationRequest.duration
        self._started = self._last_time = clock()
        self._last_fraction = 0.0

    def tell(self, progress: Progress) -> None:
        now = self._clock()
        due = (
            now - self._last_time >= LINE_EVERY_SECONDS
            and progress.fraction - self._last_fraction >= LINE_EVERY_FRACTION
        )
        if due or (progress.done == progress.total and self._last_fraction < 1):
            self._say(progress_line(progress, now - self._started, self._seconds))
            self._last_time, self._last_fraction = now, progress.fraction


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
    """Cog's metrics of a prediction. Loudness is left out where none is defined; the phases of the
    worker's start are those of its first prediction."""
    clip = result.clips[0]
    metrics: dict[str, float | int | str] = {
        "seed": clip.seed,
        "model": _shown(result.model),
        "licence": result.licence,
        "audio_seconds": result.seconds,
        "decode_seconds": result.timings.decode,
        "real_time_factor": result.real_time_factor,
    }
    if clip.loudness_lufs is not None:
        metrics["loudness_lufs"] = clip.loudness_lufs
    for phase, seconds in (result.start or {}).items():
        metrics[f"start_{phase}_seconds"] = seconds
    return metrics


def _shown(model: str) -> str:
    """Of a model that is a folder of this machine only its last part."""
    return Path(model).name if Path(model).is_absolute() else model


def _empty(folder: Path) -> None:
    """Cog has read an output before it gives the only slot to the next prediction, so nothing
    that is still being sent goes."""
    for entry in folder.glob("*"):
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _delete_older(folder: Path, moment: float) -> None:
    """Deletes outputs written before `moment`. Their dated folders stay: others write there."""
    for entry in folder.glob("*"):
        try:
            if entry.is_file() and entry.stat().st_mtime < moment:
                entry.unlink()
        except FileNotFoundError:
            # Another prediction deleted it first.
            continue


def _say_on_stdout(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
