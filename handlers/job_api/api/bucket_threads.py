"""Threads for requests to the bucket: a slow one must not stop the other work of this process."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
BUCKET_THREADS = 32

_threads = ThreadPoolExecutor(BUCKET_THREADS, "bucket")


async def run_in_bucket_thread(work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Call `work`, which blocks on the bucket, and return its result."""
    call = functools.partial(work, *args, **options)
    return await asyncio.get_running_loop().run_in_executor(_threads, call)
