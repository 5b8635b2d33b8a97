"""Cog's translation: arguments of `run()` to a running generation, its result to output files.

Standard output is for the caller: Cog returns it as the `logs` of a prediction, and finds the
prediction by the thread it called. Messages for the operator alone go through `logging`.
"""

from __future__ import annotations

import logging
import shutil
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from handlers import cog_folder
from handlers.cog_callers import translate
from handlers.contract import ServedPredictor
from handlers.progress_throttle import ProgressThrottle
from handlers.reply import format_error
from handlers.serving import Serving
from musicgen.disk_errors import translate_full_disk
from musicgen.errors import DeviceFault, MusicGenError
from musicgen.errors.counts import format_count
from musicgen.request import GenerationRequest
from musicgen.result import GenerationResult, Progress
from musicgen.settings import Delivery

BAR_CHARACTERS = 10
KEPT_SECONDS = 900.0
"""Life of an output file where Cog runs several predictions at once: it reads or uploads the file
after `run()` has returned, and does not report the end of that."""

CLEANING_SECONDS = 3600.0
"""Time between deletions of Cog's old folders: to list thousands takes a tenth of a second."""

RecordMetric = Callable[[str, Any], None]

logger = logging.getLogger(__name__)


class PredictionError(Exception):
    """Error text for a caller of Cog: a stable code, a colon and a sentence."""


class CogRun:
    """Predictions of one Cog worker. The clips of `predictor` lie in `folder`, used by no one else.

    With `delivery` they go to the operator's bucket. `concurrency`: number of predictions that Cog
    runs at once. With one, a prediction deletes the files of earlier ones. With several it deletes
    only files older than `KEPT_SECONDS`: another prediction may be writing its output, or Cog may
    be sending it.
    """

    def __init__(
        self,
        predictor: ServedPredictor,
        folder: Path,
        networks: tuple[str, ...] = (),
        delivery: Delivery | None = None,
        write_line: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        concurrency: int = 1,
    ) -> None:
        self._serving = Serving(predictor, networks)
        self._folder = folder
        self._concurrency = concurrency
        self._delivery = delivery
        self._write_line = write_line or _write_to_stdout
        self._clock = clock
        self._default_model = predictor.model
        self._is_healthy = True
        self._next_cleaning = clock()

    @property
    def is_healthy(self) -> bool:
        """False after a device fault: no later prediction of this process can succeed."""
        return self._is_healthy

    async def generate(self, arguments: Mapping[str, Any], record_metric: RecordMetric) -> str:
        """Make one clip and return its URL, or its path under a name of its own.

        Being cancelled stops the decode. Raises: `PredictionError`.
        """
        with self._translate_errors():
            arguments = self._translate(arguments)
            log = self._begin(arguments)
            async with self._serving.follow(arguments, delivery=self._delivery) as generation:
                async for progress in generation:
                    log.update(progress)
                result = await generation.result()
            return self._finish(result, record_metric)

    def stream(
        self, arguments: Mapping[str, Any], record_metric: RecordMetric
    ) -> Generator[str, None, None]:
        """Yield files while the clip is made, each playable alone, and then the whole clip.

        Pieces are named ID-piece-001.wav and so on; the normalized clip, as `generate` returns it,
        is ID-clip.wav. Cog lists uploads in the order in which they end. For one slot.

        Raises: `PredictionError`. Cog's cancellation, not an `Exception`, passes through.
        """
        with self._translate_errors():
            arguments = self._translate(arguments)
            log = self._begin(arguments)
            with self._serving.open_generation(
                arguments, stream="files", delivery=self._delivery
            ) as generation:
                number = 0
                for progress in generation:
                    log.update(progress)
                    for audio in filter(None, progress.audio):
                        number += 1
                        yield self._write_piece(generation.job_id, number, arguments, audio)
                result = generation.result()
            yield self._finish(result, record_metric, "-clip")

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Turn every error into a `PredictionError`; log the unexpected ones."""
        try:
            yield
        except Exception as error:
            if isinstance(error, DeviceFault):
                self._is_healthy = False
            if not isinstance(error, MusicGenError) or isinstance(error, DeviceFault):
                logger.exception("a prediction failed unexpectedly")
            raise PredictionError(format_error(error)) from None

    def _translate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a request, and write what differs from replicate/cog-musicgen."""
        fields, notes = translate(arguments)
        for note in notes:
            self._write_line(f"note: {note}")
        return fields

    def _begin(self, arguments: Mapping[str, Any]) -> ProgressLog:
        """Delete old outputs and folders of Cog, and announce a model switch."""
        if self._concurrency == 1:
            _empty_folder(self._folder)
        else:
            _delete_older(self._folder, time.time() - KEPT_SECONDS)
        if self._clock() >= self._next_cleaning:
            self._next_cleaning = self._clock() + CLEANING_SECONDS
            cog_folder.delete_old_folders(time.time() - cog_folder.KEPT_SECONDS)
        model = arguments.get("model_version") or self._default_model
        if not self._serving.has_loaded(model):
            self._write_line(f"loading model {_hide_folder(model)}")
        return ProgressLog(self._write_line, self._clock, arguments)

    def _finish(self, result: GenerationResult, record_metric: RecordMetric, role: str = "") -> str:
        for name, value in build_metrics(result).items():
            record_metric(name, value)
        self._write_line(
            f"seed {result.seed}, model {_hide_folder(result.model)} (licence {result.licence}), "
            f"{result.seconds:g} s of audio in {result.timings.total:.1f} s"
        )
        for note in result.notes:
            self._write_line(f"note: {note}")
        clip = Path(result.clips[0].address)
        if self._folder not in clip.parents:
            return result.clips[0].address
        # Cog uploads under the bare file name, so the clip gets one of its own.
        output = clip.rename(self._folder / f"{result.job_id}{role}{clip.suffix}")
        clip.parent.rmdir()
        return str(output)

    def _write_piece(
        self, job_id: str, number: int, arguments: Mapping[str, Any], audio: bytes
    ) -> str:
        suffix = arguments.get("output_format") or "wav"
        path = self._folder / f"{job_id}-piece-{number:03d}.{suffix}"
        with translate_full_disk(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(audio)
        return str(path)


class ProgressLog:
    """Progress lines of one prediction: as seldom as `ProgressThrottle` allows, and its end."""

    def __init__(
        self,
        write_line: Callable[[str], None],
        clock: Callable[[], float],
        arguments: Mapping[str, Any],
    ) -> None:
        self._write_line = write_line
        self._clock = clock
        self._seconds = arguments.get("duration") or GenerationRequest.duration
        self._start = clock()
        self._throttle = ProgressThrottle(self._start)

    def update(self, progress: Progress) -> None:
        """Write a line if one is due."""
        now = self._clock()
        is_end = progress.done == progress.total and self._throttle.fraction < 1
        if is_end or self._throttle.is_due(progress.fraction, now):
            self._write_line(format_progress_line(progress, now - self._start, self._seconds))
            self._throttle.record(progress.fraction, now)


def format_progress_line(progress: Progress, elapsed: float, seconds: float) -> str:
    """Return one line of `logs` after `elapsed` seconds of work on `seconds` of audio.

    Replicate's clients parse the percentage and the steps by the shape of the line.
    """
    percent = int(progress.fraction * 100)
    bar = ("#" * int(progress.fraction * BAR_CHARACTERS)).ljust(BAR_CHARACTERS, ".")
    factor = elapsed / (progress.fraction * seconds)
    return (
        f"{percent}%|{bar}| {progress.done}/{format_count(progress.total, 'step')} decoded, "
        f"real-time factor {factor:.2f}"
    )


def build_metrics(result: GenerationResult) -> dict[str, float | int | str]:
    """Return Cog's metrics of a prediction.

    Undefined loudness is left out. The first prediction of a worker also has the phases of the
    worker's start, in seconds.
    """
    clip = result.clips[0]
    metrics: dict[str, float | int | str] = {
        "seed": clip.seed,
        "model": _hide_folder(result.model),
        "licence": result.licence,
        "clip_sha256": clip.sha256,
        "audio_seconds": result.seconds,
        "decode_seconds": result.timings.decode,
        "real_time_factor": result.real_time_factor,
    }
    if clip.loudness_lufs is not None:
        metrics["loudness_lufs"] = clip.loudness_lufs
    if clip.true_peak_dbtp is not None:
        metrics["true_peak_dbtp"] = clip.true_peak_dbtp
    for phase, seconds in (result.start or {}).items():
        metrics[f"start_{phase}_seconds"] = seconds
    return metrics


def _hide_folder(model: str) -> str:
    """Return the public name of a model: of a folder of this machine only the last part."""
    return Path(model).name if Path(model).is_absolute() else model


def _empty_folder(folder: Path) -> None:
    """Delete all earlier outputs: with one at a time Cog has read them before it calls again."""
    for entry in folder.glob("*"):
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _delete_older(folder: Path, moment: float) -> None:
    """Delete outputs written before `moment`, but not their dated folders: others write there."""
    for entry in folder.glob("*"):
        try:
            if entry.is_file() and entry.stat().st_mtime < moment:
                entry.unlink()
        except FileNotFoundError:
            # Another prediction deleted it first.
            continue


def _write_to_stdout(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
