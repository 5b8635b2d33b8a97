"""A generation in a thread of its own, followed from an event loop that is never blocked."""

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
"""How many pieces of a stream are made before its reader takes one: a slow reader waits for
nobody but itself, and costs no memory."""
LOOK_AGAIN_SECONDS = 0.1


class Followed(AsyncIterator[Progress]):
    """Iterate it for the progress: the latest of what has no sound, every one that has.

    Leaving the `async with` early, or being cancelled within it, stops the decode and returns when
    it has stopped: the slot is free then. Nothing starts before it is entered.
    """

    def __init__(
        self, start: Callable[[threading.Event], AbstractContextManager[Generation]]
    ) -> None:
        self._start = start
        self._gave_up = threading.Event()
        self._waiting: deque[Progress] = deque()
        self._room = threading.Semaphore(PIECES_AHEAD)
        self._lock = threading.Lock()
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: asyncio.Future[GenerationResult] | None = None

    async def __aenter__(self) -> Followed:
        self._loop = asyncio.get_running_loop()
        # A thread of its own: in the loop's few shared ones, jobs would keep name look-ups waiting.
        # Not a task: the loop cancels those when it ends, and the thread would run on unseen.
        with_one_thread = ThreadPoolExecutor(1, thread_name_prefix="generation")
        # In this context: what the thread logs is about the same job.
        run = partial(contextvars.copy_context().run, self._run)
        self._work = self._loop.run_in_executor(with_one_thread, run)
        with_one_thread.shutdown(wait=False)
        self._work.add_done_callback(lambda _: self._news.set())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._gave_up.set()
        assert self._work is not None, "it was entered"
        cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
        interrupted = False
        while not self._work.done():
            try:
                await asyncio.wait([self._work])
            except asyncio.CancelledError:
                # Only the thread knows when the decode has stopped: wait for it all the same.
                interrupted = True
        # Taken, so that a failure after giving up is not reported as one that nobody saw.
        self._work.exception()
        if interrupted and not cancelled:
            raise asyncio.CancelledError

    async def __anext__(self) -> Progress:
        while True:
            self._news.clear()
            with self._lock:
                if self._waiting:
                    progress = self._waiting.popleft()
                    break
            if self._work is not None and self._work.done():
                raise StopAsyncIteration
            await self._news.wait()
        if progress.audio:
            self._room.release()
        return progress

    def give_up(self) -> None:
        """Stops the decode, without waiting for it: for those who cannot leave the `async with`."""
        self._gave_up.set()

    async def finished(self) -> GenerationResult:
        """Waits for the end. Raises: what the generation raised."""
        assert self._work is not None, "it was entered"
        return await asyncio.shield(self._work)

    def _run(self) -> GenerationResult:
        """In the thread."""
        with self._start(self._gave_up) as generation:
            for progress in generation:
                if self._gave_up.is_set():
                    generation.cancel()
                    continue
                self._tell(progress)
            return generation.result()

    def _tell(self, progress: Progress) -> None:
        if progress.audio:
            while not self._room.acquire(timeout=LOOK_AGAIN_SECONDS):
                if self._gave_up.is_set():
                    return
        with self._lock:
            if self._waiting and not self._waiting[-1].audio:
                self._waiting.pop()
            self._waiting.append(progress)
        assert self._loop is not None, "it was entered"
        self._loop.call_soon_threadsafe(self._news.set)
