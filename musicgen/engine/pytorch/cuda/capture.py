"""Capture of repeated work as CUDA graphs: one way for steps, prompts and pieces of sound."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from typing import Generic, TypeVar

import torch

logger = logging.getLogger(__name__)

MAX_GRAPHS = 96
RUNS_BETWEEN_CAPTURES = 500
"""Runs without captures after one that found no memory: ten seconds of music, for steps."""

Key = TypeVar("Key", bound=Hashable)
_one_capture = threading.Lock()
"""The start of a capture waits for the GPU and registers its random generator: one at a time."""


def select_device(device: torch.device) -> AbstractContextManager[None]:
    """Make a GPU current: streams and graphs belong to the thread's current GPU."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


class GraphCache(Generic[Key]):
    """CUDA graphs of one kind of work by key, captured when a key first occurs.

    Work is a function that reads and writes buffers with a longer life than the graph; running it
    twice must give the same as running it once. Graphs of one cache share memory, so they must
    never run concurrently: the caller holds a lock, or all run in one stream.

    `name`: of the work, for the log. `enabled`: off runs all work uncaptured, as it is after a
    failed capture. Lack of memory passes with the jobs that cause it, so capture is tried again
    after `RUNS_BETWEEN_CAPTURES` runs.
    """

    def __init__(self, name: str, *, enabled: bool) -> None:
        self._name, self._enabled = name, enabled
        self._graphs: dict[Key, torch.cuda.CUDAGraph] = {}
        self._runs_until_capture = 0
        self._stream: torch.cuda.Stream | None = None

    def __len__(self) -> int:
        return len(self._graphs)

    @property
    def enabled(self) -> bool:
        """Whether new keys are captured: false after a failed capture."""
        return self._enabled

    def run(
        self,
        key: Key,
        work: Callable[[], None],
        pause: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Run `work`, as the graph of `key` where one can be captured.

        `pause`: context of a capture, in which the work changes nothing.
        """
        if self._runs_until_capture:
            self._runs_until_capture -= 1
        elif self._enabled and key not in self._graphs:
            self._try_capture(key, work, pause)
        graph = self._graphs.get(key)
        if graph is None:
            work()
        else:
            graph.replay()

    def _try_capture(
        self,
        key: Key,
        work: Callable[[], None],
        pause: Callable[[], AbstractContextManager[None]],
    ) -> None:
        try:
            with _one_capture, pause():
                graph = self._capture(work)
        except RuntimeError as error:
            if _is_out_of_memory(error):
                logger.warning("No memory for a CUDA graph; trying again later: %s", error)
                self._runs_until_capture = RUNS_BETWEEN_CAPTURES
                return
            logger.warning(
                "CUDA graph capture failed; the %s runs uncaptured, slower: %s",
                *(self._name, error),
            )
            self._enabled = False
            self._graphs.clear()
            return
        if len(self._graphs) >= MAX_GRAPHS:
            self._graphs.pop(next(iter(self._graphs)))
        self._graphs[key] = graph

    def _capture(self, work: Callable[[], None]) -> torch.cuda.CUDAGraph:
        """Warm up and capture in the cache's own stream."""
        graph, previous = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            # One stream for all captures: cuBLAS keeps a workspace for each stream it ever used,
            # and graphs of different caches, with a workspace each, may run concurrently.
            if self._stream is None:
                self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream = self._stream
            stream.wait_stream(previous)
            with torch.cuda.stream(stream):
                work()
            previous.wait_stream(stream)
            # Nothing stays in the shared pool between runs. Other threads use the GPU during
            # capture, hence "thread_local".
            pool = next(iter(self._graphs.values())).pool() if self._graphs else None
            with torch.cuda.graph(
                graph, pool=pool, stream=stream, capture_error_mode="thread_local"
            ):
                work()
        finally:
            # A capture that fails at its end leaves its own stream current. Later work there would
            # race with the other work of this thread.
            torch.cuda.set_stream(previous)
        return graph


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out in `error` or before it: the end of a capture raises, too."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False
