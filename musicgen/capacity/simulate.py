"""Jobs that arrive, wait, share a worker, and workers that come and go: an event simulation.

A worker makes up to `slots` jobs side by side, each at an equal share of the pace that it has with
so many (processor sharing). Jobs are taken in their order by the worker with the fewest. Workers
are fixed, or follow the number of unfinished jobs: looked at every `poll` seconds, ready
`cold_start` seconds after they were asked for. They go when they have been idle for long, as on
serverless platforms, or when fewer have been wanted for long, as with KEDA.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from musicgen.capacity.throughput import Pace


@dataclass(frozen=True)
class Scaling:
    """`jobs_a_worker`: unfinished jobs for which one worker is wanted. Times in seconds.

    A worker goes after `idle` without a job. Or, with `drains_every`, busy ones go too once fewer
    were wanted for as long as `idle`: one each so many seconds, which takes no more jobs and ends
    with its last.
    """

    least: int
    most: int
    jobs_a_worker: int
    cold_start: float
    poll: float = 10.0
    idle: float = 300.0
    drains_every: float | None = None


@dataclass(frozen=True)
class Outcome:
    """By job, in the order of arrival, seconds: until it began, and until it ended.

    `worker_seconds`: paid for, starts and idle time included. `cold`: jobs that were the first of
    a worker that was started for them. `looks`: at each look of the autoscaler the second, the
    workers that there are or that start, and the jobs that wait.
    """

    waits: list[float]
    latencies: list[float]
    worker_seconds: float
    cold: int
    ends_at: float
    looks: list[tuple[float, int, int]]

    def percentile(self, share: float) -> float:
        """Of the latencies."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


@dataclass
class _Worker:
    ready_at: float
    asked_at: float
    jobs: list[tuple[float, int]] = field(default_factory=list)
    """Heap of (virtual end, job): virtual time goes on at the share of each job."""
    virtual: float = 0.0
    since: float = 0.0
    version: int = 0
    idle_since: float = 0.0
    fresh: bool = True
    drains: bool = False


_ARRIVE, _READY, _DONE, _POLL = range(4)


class Simulation:
    """One run. `arrivals`: seconds, rising; `sizes`: seconds of audio of each job; `overhead`:
    seconds of audio that a job costs beside its own, for all that is not decoding."""

    def __init__(
        self,
        arrivals: Sequence[float],
        sizes: Sequence[float],
        pace: Pace,
        slots: int,
        scaling: Scaling,
        overhead: float = 0.0,
    ) -> None:
        self._arrivals, self._sizes, self._overhead = arrivals, sizes, overhead
        self._rates = [0.0] + [pace.of(jobs) / jobs for jobs in range(1, slots + 1)]
        self._slots, self._scaling = slots, scaling
        self._events: list[tuple[float, int, int, int]] = []
        self._workers: dict[int, _Worker] = {}
        self._free: list[set[int]] = [set() for _ in range(slots)]
        """Ready workers by how many jobs they have."""
        self._next_worker = 0
        self._queue: deque[int] = deque()
        self._unfinished = self._starting = 0
        self._began = [math.nan] * len(arrivals)
        self._ended = [math.nan] * len(arrivals)
        self._paid = 0.0
        self._cold = 0
        self._looks: list[tuple[float, int, int]] = []
        self._draining = 0
        self._drained_at = -math.inf
        self._wanted: deque[tuple[float, int]] = deque()
        """Lately: the second and how many."""

    def run(self) -> Outcome:
        for _ in range(self._scaling.least):
            self._ask(0.0, ready_at=0.0)
        if self._arrivals:
            self._push(self._arrivals[0], _ARRIVE, 0)
        if self._scaling.most > self._scaling.least:
            self._push(0.0, _POLL, 0)
        left, now = len(self._arrivals), 0.0
        while left and self._events:
            now, kind, number, version = heapq.heappop(self._events)
            if kind == _ARRIVE:
                self._arrive(now, number)
            elif kind == _READY:
                self._ready(now, number)
            elif kind == _DONE:
                left -= self._done(now, number, version)
            else:
                self._poll(now)
        for worker in self._workers.values():
            self._paid += now - worker.asked_at
        starts = zip(self._began, self._arrivals, strict=True)
        ends = zip(self._ended, self._arrivals, strict=True)
        return Outcome(
            [began - at for began, at in starts],
            [ended - at for ended, at in ends],
            self._paid,
            self._cold,
            now,
            self._looks,
        )

    def _push(self, at: float, kind: int, number: int, version: int = 0) -> None:
        heapq.heappush(self._events, (at, kind, number, version))

    def _arrive(self, now: float, job: int) -> None:
        if job + 1 < len(self._arrivals):
            self._push(self._arrivals[job + 1], _ARRIVE, job + 1)
        self._unfinished += 1
        self._queue.append(job)
        self._take(now)

    def _take(self, now: float) -> None:
        while self._queue:
            free = next((workers for workers in self._free if workers), None)
            if free is None:
                return
            number = min(free)
            worker, job = self._workers[number], self._queue.popleft()
            self._advance(worker, now)
            self._free[len(worker.jobs)].discard(number)
            heapq.heappush(worker.jobs, (worker.virtual + self._sizes[job] + self._overhead, job))
            if len(worker.jobs) < self._slots:
                self._free[len(worker.jobs)].add(number)
            self._began[job] = now
            self._cold += worker.fresh and worker.ready_at > 0
            worker.fresh = False
            self._expect(now, number)

    def _advance(self, worker: _Worker, now: float) -> None:
        worker.virtual += (now - worker.since) * self._rates[len(worker.jobs)]
        worker.since = now

    def _expect(self, now: float, number: int) -> None:
        worker = self._workers[number]
        worker.version += 1
        if worker.jobs:
            left = max(0.0, worker.jobs[0][0] - worker.virtual)
            end = now + left / self._rates[len(worker.jobs)]
            self._push(end, _DONE, number, worker.version)

    def _done(self, now: float, number: int, version: int) -> int:
        worker = self._workers.get(number)
        if worker is None or worker.version != version:
            return 0
        self._advance(worker, now)
        self._free[min(len(worker.jobs), self._slots - 1)].discard(number)
        _, job = heapq.heappop(worker.jobs)
        if not worker.drains:
            self._free[len(worker.jobs)].add(number)
        self._ended[job] = now
        self._unfinished -= 1
        worker.idle_since = now
        if worker.drains and not worker.jobs:
            self._draining -= 1
            self._gone(now, number)
        else:
            self._expect(now, number)
        self._take(now)
        return 1

    def _ask(self, now: float, ready_at: float) -> None:
        number = self._next_worker
        self._next_worker += 1
        self._workers[number] = _Worker(ready_at, now)
        self._starting += 1
        self._push(ready_at, _READY, number)

    def _ready(self, now: float, number: int) -> None:
        self._starting -= 1
        self._workers[number].since = self._workers[number].idle_since = now
        self._free[0].add(number)
        self._take(now)

    def _poll(self, now: float) -> None:
        scaling = self._scaling
        self._looks.append((now, len(self._workers), len(self._queue)))
        wanted = math.ceil(self._unfinished / scaling.jobs_a_worker)
        wanted = min(scaling.most, max(scaling.least, wanted))
        for _ in range(wanted - len(self._workers) + self._draining):
            self._ask(now, now + scaling.cold_start)
        if scaling.drains_every is not None:
            self._drain(now, wanted, scaling.drains_every)
        else:
            self._let_idle_go(now, wanted)
        self._push(now + scaling.poll, _POLL, 0)

    def _let_idle_go(self, now: float, wanted: int) -> None:
        for number in sorted(self._free[0], reverse=True):
            idle = now - self._workers[number].idle_since
            if len(self._workers) > wanted and idle >= self._scaling.idle:
                self._free[0].discard(number)
                self._gone(now, number)

    def _drain(self, now: float, wanted: int, every: float) -> None:
        """The newest one first, as a ReplicaSet does it."""
        self._wanted.append((now, wanted))
        while self._wanted[0][0] < now - self._scaling.idle:
            self._wanted.popleft()
        most_wanted = max(number for _, number in self._wanted)
        if len(self._workers) - self._draining <= most_wanted or now - self._drained_at < every:
            return
        ready = [n for n, w in self._workers.items() if w.ready_at <= now and not w.drains]
        if not ready:
            return
        number = max(ready)
        worker = self._workers[number]
        self._drained_at = now
        if len(worker.jobs) < self._slots:
            self._free[len(worker.jobs)].discard(number)
        if worker.jobs:
            worker.drains = True
            self._draining += 1
        else:
            self._gone(now, number)

    def _gone(self, now: float, number: int) -> None:
        self._paid += now - self._workers.pop(number).asked_at


def fixed(workers: int) -> Scaling:
    return Scaling(workers, workers, 1, 0.0)
