"""Fetching the input audio of a job, until the job is cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from handlers.job_api.worker.progress import REPORT_SECONDS, ProgressReporter
from handlers.serving import Serving
from musicgen.errors import GenerationCancelled


@asynccontextmanager
async def fetch_audio(
    serving: Serving, fields: Mapping[str, Any], reporter: ProgressReporter
) -> AsyncIterator[dict[str, Any] | None]:
    """Yield the fields of a request with its input audio as a file, or None for a cancelled job.

    A caller that names slow servers and cancels its jobs would else hold every slot for a minute.

    Raises: `InvalidInputAudio`.
    """
    cancelled = threading.Event()
    opened = serving.open_audio(fields, cancelled)
    # A thread of its own: fetches in the loop's few shared ones would delay other work.
    executor = ThreadPoolExecutor(1, thread_name_prefix="input-audio")
    fetch = asyncio.get_running_loop().run_in_executor(executor, opened.__enter__)
    executor.shutdown(wait=False)
    try:
        while not (await asyncio.wait({fetch}, timeout=REPORT_SECONDS))[0]:
            if not await reporter.report(0.0):
                cancelled.set()
        try:
            found = fetch.result()
        except GenerationCancelled:
            found = None
        yield found
    finally:
        cancelled.set()
        await asyncio.wait({fetch})
        if fetch.exception() is None:
            await asyncio.to_thread(opened.__exit__, None, None, None)
