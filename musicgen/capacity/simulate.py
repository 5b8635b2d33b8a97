"""Event simulation of jobs and autoscaled workers.

A worker runs up to `slots` jobs, each with an equal share of its throughput (processor sharing).
Jobs start in order of arrival, on the worker with the fewest jobs. The number of workers is
constant, or follows the number of unfinished jobs: it is adjusted every `poll` seconds, and a new
worker is ready after `cold_start` seconds. A worker is removed after an idle time, as on serverless
platforms, or after a time with a lower target, as with KEDA.
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
    """Autoscaling rules, with times in seconds.

    `jobs_a_worker`: unfinished jobs for each worker of the target. `idle`: a worker is removed
    after this time without a job. With `drains_every`, a busy worker is removed too after `idle`
    seconds with a lower target: one worker per `drains_every` seconds, which first finishes its
    jobs and starts no new ones.
    """

    least: int
    most: int
    jobs_a_worker: int
    cold_start: float
    poll: float = 10.0
    idle: float = 300.0
    drains_every: float | None = None


@dataclass(frozen=True)
class SimulationResult:
    """Result of one simulation.

    `waits` and `latencies`: seconds from arrival to start and to end, by job in order of arrival.
    `worker_seconds`: paid time, with starts and idle time. `cold`: jobs delayed by a start.
    `polls`: at each poll of the autoscaler the time, the workers (also starting ones), and the
    waiting jobs.
    """

    waits: list[float]
    latencies: list[float]
    worker_seconds: float
    cold: int
    ends_at: float
    polls: list[tuple[float, int, int]]

    def percentile(self, share: float) -> float:
        """Return a percentile of the latencies; `share` is 0 to 1."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


@dataclass
class _Worker:
    ready_at: float
    requested_at: float
    jobs: list[tuple[float, int]] = field(default_factory=list)
    """Heap of (virtual end, job); virtual time runs at the speed of one job."""
    virtual: float = 0.0
    since: float = 0.0
    version: int = 0
    idle_since: float = 0.0
    is_fresh: bool = True
    is_draining: bool = False


_ARRIVE, _READY, _DONE, _POLL = range(4)


class Simulation:
    """One run of the simulation.

    `arrivals`: seconds, rising. `sizes`: audio seconds of each job. `overhead`: audio seconds of
    work for each job besides decoding.
    """

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
        """Ready workers by their number of jobs."""
        self._next_worker = 0
        self._queue: deque[int] = deque()
        self._unfinished = self._starting = 0
        self._starts = [math.nan] * len(arrivals)
        self._ends = [math.nan] * len(arrivals)
        self._worker_seconds = 0.0
        self._cold = 0
        self._polls: list[tuple[float, int, int]] = []
        self._draining = 0
        self._drained_at = -math.inf
        self._targets: deque[tuple[float, int]] = deque()
        """Recent targets, as (second, workers)."""

    def run(self) -> SimulationResult:
        """Run until every job has ended."""
        for _ in range(self._scaling.least):
            self._request_worker(0.0, ready_at=0.0)
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
                self._start_worker(now, number)
            elif kind == _DONE:
                left -= self._finish_job(now, number, version)
            else:
                self._poll(now)
        for worker in self._workers.values():
            self._worker_seconds += now - worker.requested_at
        starts = zip(self._starts, self._arrivals, strict=True)
        ends = zip(self._ends, self._arrivals, strict=True)
        return SimulationResult(
            [start - arrival for start, arrival in starts],
            [end - arrival for end, arrival in ends],
            self._worker_seconds,
            self._cold,
            now,
            self._polls,
        )

    def _push(self, at: float, kind: int, number: int, version: int = 0) -> None:
        heapq.heappush(self._events, (at, kind, number, version))

    def _arrive(self, now: float, job: int) -> None:
        if job + 1 < len(self._arrivals):
            self._push(self._arrivals[job + 1], _ARRIVE, job + 1)
        self._unfinished += 1
        self._queue.append(job)
        self._start_jobs(now)

    def _start_jobs(self, now: float) -> None:
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
            self._starts[job] = now
            self._cold += worker.is_fresh and worker.ready_at > 0
            worker.is_fresh = False
            self._schedule_end(now, number)

    def _advance(self, worker: _Worker, now: float) -> None:
        worker.virtual += (now - worker.since) * self._rates[len(worker.jobs)]
        worker.since = now

    def _schedule_end(self, now: float, number: int) -> None:
        worker = self._workers[number]
        worker.version += 1
        if worker.jobs:
            left = max(0.0, worker.jobs[0][0] - worker.virtual)
            end = now + left / self._rates[len(worker.jobs)]
            self._push(end, _DONE, number, worker.version)

    def _finish_job(self, now: float, number: int, version: int) -> int:
        worker = self._workers.get(number)
        if worker is None or worker.version != version:
            return 0
        self._advance(worker, now)
        self._free[min(len(worker.jobs), self._slots - 1)].discard(number)
        _, job = heapq.heappop(worker.jobs)
        if not worker.is_draining:
            self._free[len(worker.jobs)].add(number)
        self._ends[job] = now
        self._unfinished -= 1
        worker.idle_since = now
        if worker.is_draining and not worker.jobs:
            self._draining -= 1
            self._remove_worker(now, number)
        else:
            self._schedule_end(now, number)
        self._start_jobs(now)
        return 1

    def _request_worker(self, now: float, ready_at: float) -> None:
        number = self._next_worker
        self._next_worker += 1
        self._workers[number] = _Worker(ready_at, now)
        self._starting += 1
        self._push(ready_at, _READY, number)

    def _start_worker(self, now: float, number: int) -> None:
        self._starting -= 1
        self._workers[number].since = self._workers[number].idle_since = now
        self._free[0].add(number)
        self._start_jobs(now)

    def _poll(self, now: float) -> None:
        scaling = self._scaling
        self._polls.append((now, len(self._workers), len(self._queue)))
        target = math.ceil(self._unfinished / scaling.jobs_a_worker)
        target = min(scaling.most, max(scaling.least, target))
        for _ in range(target - len(self._workers) + self._draining):
            self._request_worker(now, now + scaling.cold_start)
        if scaling.drains_every is not None:
            self._drain(now, target, scaling.drains_every)
        else:
            self._remove_idle(now, target)
        self._push(now + scaling.poll, _POLL, 0)

    def _remove_idle(self, now: float, target: int) -> None:
        for number in sorted(self._free[0], reverse=True):
            idle = now - self._workers[number].idle_since
            if len(self._workers) > target and idle >= self._scaling.idle:
                self._free[0].discard(number)
                self._remove_worker(now, number)

    def _drain(self, now: float, target: int, every: float) -> None:
        """Remove the newest worker first, like a ReplicaSet."""
        self._targets.append((now, target))
        while self._targets[0][0] < now - self._scaling.idle:
            self._targets.popleft()
        highest_target = max(number for _, number in self._targets)
        if len(self._workers) - self._draining <= highest_target or now - self._drained_at < every:
            return
        ready = [n for n, w in self._workers.items() if w.ready_at <= now and not w.is_draining]
        if not ready:
            return
        number = max(ready)
        worker = self._workers[number]
        self._drained_at = now
        if len(worker.jobs) < self._slots:
            self._free[len(worker.jobs)].discard(number)
        if worker.jobs:
            worker.is_draining = True
            self._draining += 1
        else:
            self._remove_worker(now, number)

    def _remove_worker(self, now: float, number: int) -> None:
        self._worker_seconds += now - self._workers.pop(number).requested_at


def keep_workers(workers: int) -> Scaling:
    """Return the scaling of a constant number of workers."""
    return Scaling(workers, workers, 1, 0.0)
