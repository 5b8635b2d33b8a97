"""MusicGen as a RunPod worker: `python -u runpod_handler.py` is the command of its image.

Without RunPod's variables the SDK runs one job here: test_input.json, or `--test_input JSON`;
`--rp_serve_api` serves its development API. MUSICGEN_DATA_DIR has no meaning here: clips go into
the answer, into MUSICGEN_BUCKET, or into the bucket that a job brings along.
"""

from __future__ import annotations

# ruff: noqa: E402
from musicgen.process import startup

startup.begin()  # the weights are read while the rest is imported, the SDK not least

from handlers.runpod_sdk import know_the_processor

know_the_processor()

import sys
from collections.abc import Mapping
from typing import Any

import runpod
from runpod.http_client import AsyncClientSession
from runpod.serverless.modules.rp_http import send_result
from runpod.serverless.modules.worker_state import IS_LOCAL_TEST

from handlers.reply import error_text
from handlers.runpod_job import RunPodJobs
from musicgen.errors import MusicGenError
from musicgen.predictor import Predictor
from musicgen.process.logs import start_logging
from musicgen.settings import Settings


def main() -> None:
    """Loads MUSICGEN_MODEL, runs it once, and takes jobs until the worker is stopped.

    What the operator can mend ends the process with one line and status 1.
    """
    try:
        settings = Settings.from_env()
        start_logging(settings.log_level, as_json=settings.logs_json)
        predictor = Predictor.load(settings)
        predictor.warm_up()
    except MusicGenError as error:
        sys.exit(error_text(error))

    # RunPod hears of a worker that fails here, and of one that cannot load its model it does not.
    runpod.serverless.register_fitness_check(predictor.warm_up)
    config: dict[str, Any] = {"return_aggregate_stream": True}
    jobs = RunPodJobs(
        predictor,
        settings,
        post_progress=None if IS_LOCAL_TEST else post_progress,
        # Read by the SDK after each job: its result then asks for a new worker.
        replace_worker=lambda: config.update(refresh_worker=True),
    )
    # The SDK's test of one job does not iterate a generator: it would succeed unseen.
    one_job = IS_LOCAL_TEST and "--rp_serve_api" not in sys.argv
    config["handler"] = jobs.handle_stream if settings.stream and not one_job else jobs.handle
    config["concurrency_modifier"] = jobs.concurrency
    startup.ready()
    runpod.serverless.start(config)


async def post_progress(job: Mapping[str, Any], update: str) -> None:
    """Sends what `runpod.serverless.progress_update` sends, but can be waited for: that one leaves
    it to a thread, whose post may arrive after the result."""
    async with AsyncClientSession() as session:
        await send_result(session, {"status": "IN_PROGRESS", "output": update}, job)


if __name__ == "__main__":
    main()
