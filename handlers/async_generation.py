"""A generation in its own thread, followed from an event loop without blocking it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType

from musicgen.generation import Generation
from musicgen.result import GenerationResult, Progress

PIECES_AHEAD = 4
"""Audio pieces decoded ahead of the reader. A slow reader delays only its own stream, and the
queue stays small."""
POLL_SECONDS = 0.1


class AsyncGeneration(AsyncIterator[Progress]):
    """A generation for an event loop. Nothing starts before `async with` enters it.

    Iterating yields the progress: every update with audio, and the latest one without. Leaving the
    `async with` early, or being cancelled within it, stops the decode and returns after it has
    stopped, with the slot free.
    """

    def __init__(
        self, start: Callable[[threading.Event], AbstractContextManager[Generation]]
    ) -> None:
        self._start = start
        self._cancelled = threading.Event()
        self._queue: deque[Progress] = deque()
        self._room = threading.Semaphore(PIECES_AHEAD)
        self._lock = threading.Lock()
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: asyncio.Future[GenerationResult] | None = None

    async def __aenter__(self) -> AsyncGeneration:
        self._loop = asyncio.get_running_loop()
        # Its own thread: jobs in the loop's few shared ones would delay name look-ups.
        # Not a task: the loop cancels tasks when it ends, and the thread would run on unseen.
        executor = ThreadPoolExecutor(1, thread_name_prefix="generation")
        # In this context, so that log lines of the thread name the same job.
        run = partial(contextvars.copy_context().run, self._run)
        self._work = self._loop.run_in_executor(executor, run)
        executor.shutdown(wait=False)
        self._work.add_done_callback(lambda _: self._changed.set())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._cancelled.set()
        assert self._work is not None, "it was entered"
        leaves_cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
        interrupted = False
        while not self._work.done():
            try:
                await asyncio.wait([self._work])
            except asyncio.CancelledError:
                # Only the thread knows when the decode has stopped, so keep waiting.
                interrupted = True
        # Retrieved, or asyncio would report a failure after cancelling as never retrieved.
        self._work.exception()
        if interrupted and not leaves_cancelled:
            raise asyncio.CancelledError

    async def __anext__(self) -> Progress:
        while True:
            self._changed.clear()
            with self._lock:
                if self._queue:
                    progress = self._queue.popleft()
                    break
            if self._work is not None and self._work.done():
                raise StopAsyncIteration
            await self._changed.wait()
        if progress.audio:
            self._room.release()
        return progress

    async def read_audio(self) -> AsyncIterator[bytes]:
        """Yield the pieces of the first clip's stream. Raises: the error of the generation."""
        async for progress in self:
            if progress.audio and progress.audio[0]:
                yield progress.audio[0]
        await self.result()

    def cancel(self) -> None:
        """Stop the decode without waiting for it, where the `async with` cannot be left."""
        self._cancelled.set()

    async def result(self) -> GenerationResult:
        """Wait for the end. Raises: the error of the generation."""
        assert self._work is not None, "it was entered"
        return await asyncio.shield(self._work)

    def _run(self) -> GenerationResult:
        """Run the generation, in its thread."""
        with self._start(self._cancelled) as generation:
            for progress in generation:
                if self._cancelled.is_set():
                    generation.cancel()
                    continue
                self._put(progress)
            return generation.result()

    def _put(self, progress: Progress) -> None:
        """Queue an update for the loop, in the generation's thread.

        With audio it waits for room; without, it replaces an older one without audio.
        """
        if progress.audio:
            while not self._room.acquire(timeout=POLL_SECONDS):
                if self._cancelled.is_set():
                    return
        with self._lock:
            if self._queue and not self._queue[-1].audio:
                self._queue.pop()
            self._queue.append(progress)
        assert self._loop is not None, "it was entered"
        self._loop.call_soon_threadsafe(self._changed.set)
