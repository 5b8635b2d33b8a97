"""Live audio of running jobs, as an iterator for a response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from handlers.job_api.api.context import Context
from handlers.job_api.store.jobs import build_run_name

POLL_SECONDS = 0.2
_BLOCK = 2**16


def open_live_audio(
    context: Context, row: Mapping[str, Any], number: int
) -> AsyncIterator[bytes] | None:
    """Return the live audio of a running job's clip `number` (from 1), or None without any."""
    files, job_id, queue_id = context.files, row["id"], row["queue_id"]
    if not row["streams"] or row["state"] != "running":
        return None
    if files.live_in_bucket is not None:
        return context.live_copies.listen(files.live_in_bucket, job_id, queue_id, number)
    path = files.live_folder.get_path(build_run_name(job_id, queue_id), number)
    try:
        return _follow_file(context, path.open("rb"))
    except FileNotFoundError:
        return None


async def _follow_file(context: Context, file: BinaryIO) -> AsyncIterator[bytes]:
    """Yield the content of a live file until its run has ended."""
    with file:
        is_complete = False
        while True:
            block = await asyncio.to_thread(file.read, _BLOCK)
            if block:
                yield block
            elif is_complete or context.draining:
                return
            else:
                # A deleted file is complete; read its rest before the end.
                is_complete = not Path(file.name).exists()
                await asyncio.sleep(0 if is_complete else POLL_SECONDS)
