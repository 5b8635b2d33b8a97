"""Jobs as RunPod sends them, and the pieces of a streamed one."""

from __future__ import annotations

import asyncio
from typing import Any

from handlers.runpod_job import RunPodJobs


def make_job(duration: float = 0.2, **fields: Any) -> dict[str, Any]:
    return {"id": "job-1", "input": {"prompt": "x", "duration": duration, "seed": 7} | fields}


def stream_job(jobs: RunPodJobs, job: dict[str, Any]) -> list[dict[str, Any]]:
    async def main() -> list[dict[str, Any]]:
        return [piece async for piece in jobs.handle_stream(job)]

    return asyncio.run(main())
