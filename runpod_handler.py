"""MusicGen as a RunPod worker: `python -u runpod_handler.py` is the command of its image.

Without RunPod's variables the SDK runs one job on this machine: test_input.json, or
`--test_input JSON`. `--rp_serve_api` serves its development API. MUSICGEN_DATA_DIR is ignored:
clips go into the answer, into MUSICGEN_BUCKET, or into the bucket of a job.
"""

from __future__ import annotations

# ruff: noqa: E402
from musicgen.process import startup

startup.begin()  # reads the weights during the imports below

import sys

from handlers.cli.statuses import EXIT_MISCONFIGURED
from handlers.runpod_sdk import preset_processor_name
from musicgen.errors import MusicGenError, SettingsError
from musicgen.settings.runpod import check_sdk_settings

try:
    check_sdk_settings()
except SettingsError as error:
    sys.stderr.write(f"{error.code}: {error}\n")
    sys.exit(EXIT_MISCONFIGURED)
preset_processor_name()

from collections.abc import Mapping
from typing import Any

import runpod
from runpod.http_client import AsyncClientSession
from runpod.serverless.modules.rp_http import send_result
from runpod.serverless.modules.worker_state import IS_LOCAL_TEST

from handlers.runpod_job import RunPodJobs
from handlers.runpod_scaler import keep_last_jobs
from musicgen.predictor import Predictor
from musicgen.process.logs import start_logging
from musicgen.settings import Settings


def main() -> None:
    """Load MUSICGEN_MODEL, run it once, and take jobs until the worker is stopped.

    An error of the settings ends the process with one line and status 78, one of the model with
    status 1.
    """
    try:
        settings = Settings.from_env()
        start_logging(settings.log_level, as_json=settings.logs_json)
        predictor = Predictor.load(settings, answers_clips=True)
        predictor.warm_up()
    except SettingsError as error:
        sys.stderr.write(f"{error.code}: {error}\n")
        sys.exit(EXIT_MISCONFIGURED)
    except MusicGenError as error:
        sys.exit(f"{error.code}: {error}")

    # RunPod learns of a failed check here, but not of a failed load above.
    runpod.serverless.register_fitness_check(predictor.warm_up)
    config: dict[str, Any] = {"return_aggregate_stream": True}
    jobs = RunPodJobs(
        predictor,
        settings,
        post_progress=None if IS_LOCAL_TEST else post_progress,
        # The SDK reads it after each job, and the result then asks for a new worker.
        replace_worker=lambda: config.update(refresh_worker=True),
    )
    # The SDK's local test does not iterate a generator, so a stream would seem to succeed.
    one_job = IS_LOCAL_TEST and "--rp_serve_api" not in sys.argv
    config["handler"] = jobs.handle_stream if settings.stream and not one_job else jobs.handle
    config["concurrency_modifier"] = jobs.concurrency
    keep_last_jobs()
    startup.ready()
    runpod.serverless.start(config)


async def post_progress(job: Mapping[str, Any], update: str) -> None:
    """Send a progress update and wait for the answer.

    `runpod.serverless.progress_update` sends it from a thread, possibly after the result.
    """
    async with AsyncClientSession() as session:
        await send_result(session, {"status": "IN_PROGRESS", "output": update}, job)


if __name__ == "__main__":
    main()
