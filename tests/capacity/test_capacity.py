"""The simulation obeys what is known of queues, and the plan follows from it."""

from __future__ import annotations

import itertools
import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.cli.main import main
from musicgen.capacity.plan import PRICES, Offer, Workload, assess, offers, poisson
from musicgen.capacity.simulate import Scaling, Simulation, SimulationResult, keep_workers
from musicgen.capacity.throughput import Pace, estimate, from_bench
from musicgen.errors import InvalidRequest
from tests.support import ROOT

ONE = Pace(((1, 1.0),), "test")
BATCHED = Pace(((1, 1.0), (2, 1.6), (4, 2.4)), "test")
RESULTS = ROOT / "bench/results"


def _run(
    arrivals: list[float], sizes: list[float], workers: int, pace: Pace = ONE, slots: int = 1
) -> SimulationResult:
    return Simulation(arrivals, sizes, pace, slots, keep_workers(workers)).run()


LOADS = st.lists(st.tuples(st.floats(0, 50), st.floats(0.1, 20)), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(jobs=LOADS, workers=st.integers(1, 4), slots=st.integers(1, 4))
def test_every_job_ends_once_after_its_work_and_not_before_it_came(
    jobs: list[tuple[float, float]], workers: int, slots: int
) -> None:
    jobs.sort()
    arrivals, sizes = [at for at, _ in jobs], [size for _, size in jobs]
    found = _run(arrivals, sizes, workers, BATCHED, slots)
    for wait, latency, size in zip(found.waits, found.latencies, sizes, strict=True):
        assert wait >= 0 and latency >= size - 1e-6
    work, fastest = sum(sizes), workers * BATCHED.of(slots)
    assert found.ends_at >= arrivals[0] + work / fastest - 1e-6
    assert found.worker_seconds == pytest.approx(workers * found.ends_at)


@settings(max_examples=60, deadline=None)
@given(jobs=LOADS, workers=st.integers(1, 4))
def test_one_job_at_a_time_is_served_in_its_order_and_more_workers_never_harm(
    jobs: list[tuple[float, float]], workers: int
) -> None:
    jobs.sort()
    arrivals, sizes = [at for at, _ in jobs], [size for _, size in jobs]
    fewer, more = _run(arrivals, sizes, workers), _run(arrivals, sizes, workers + 1)
    begins = [wait + at for wait, at in zip(fewer.waits, arrivals, strict=True)]
    assert all(a <= b + 1e-9 for a, b in itertools.pairwise(begins))
    assert all(m <= f + 1e-6 for m, f in zip(more.latencies, fewer.latencies, strict=True))


@pytest.mark.parametrize(("workers", "load"), [(1, 0.5), (1, 0.8), (3, 0.7)])
def test_waits_are_erlang_s(workers: int, load: float) -> None:
    """M/M/c: Poisson arrivals, exponential sizes. Formula: Erlang C."""
    count, rng = 60_000, random.Random(1)
    arrivals = poisson(3600 * load * workers, count, seed=2)
    sizes = [rng.expovariate(1.0) for _ in range(count)]
    offered = load * workers
    waiting = offered**workers / math.factorial(workers) / (1 - load)
    probability = waiting / (sum(offered**k / math.factorial(k) for k in range(workers)) + waiting)
    expected = probability / (workers - offered)
    found = _run(arrivals, sizes, workers)
    assert sum(found.waits) / count == pytest.approx(expected, rel=0.12)


def test_equal_jobs_wait_half_as_long() -> None:
    """M/D/1: half of M/M/1's wait (Pollaczek and Khinchine)."""
    count, load = 60_000, 0.7
    found = _run(poisson(3600 * load, count, seed=3), [1.0] * count, 1)
    assert sum(found.waits) / count == pytest.approx(load / (2 * (1 - load)), rel=0.08)


def test_jobs_side_by_side_share_a_worker() -> None:
    """Two of 8 s that come together take 10 s at 1.6; a third of 8 s that comes when they end
    takes 8 s alone."""
    found = _run([0.0, 0.0, 10.0], [8.0, 8.0, 8.0], 1, BATCHED, slots=2)
    assert found.latencies == pytest.approx([10.0, 10.0, 8.0])


def test_a_worker_that_is_asked_for_comes_after_its_start_and_goes_when_it_is_idle() -> None:
    scaling = Scaling(0, 2, jobs_a_worker=1, cold_start=30.0, poll=10.0, idle=60.0)
    found = Simulation([5.0, 500.0], [10.0, 10.0], ONE, 1, scaling).run()
    # Seen at 10, ready at 40; idle from 50, gone at 110. The same again for the second.
    assert found.latencies == pytest.approx([45.0, 10.0 + 30.0 + (500 % 10 or 10)], abs=10.0)
    assert found.cold == 2
    assert found.worker_seconds == pytest.approx(100.0 + 40.0, abs=10.0)


@settings(max_examples=60, deadline=None)
@given(
    jobs=LOADS,
    slots=st.integers(1, 4),
    most=st.integers(1, 5),
    idle=st.sampled_from([0.0, 20.0, 100.0]),
    every=st.sampled_from([None, 0.0, 30.0]),
)
def test_workers_may_come_and_go_and_every_job_still_ends(
    jobs: list[tuple[float, float]], slots: int, most: int, idle: float, every: float | None
) -> None:
    jobs.sort()
    arrivals, sizes = [at for at, _ in jobs], [size for _, size in jobs]
    scaling = Scaling(0, most, slots, cold_start=5.0, poll=3.0, idle=idle, drains_every=every)
    found = Simulation(arrivals, sizes, BATCHED, slots, scaling).run()
    for wait, latency, size in zip(found.waits, found.latencies, sizes, strict=True):
        assert wait >= 0 and latency >= size - 1e-6
    assert found.worker_seconds >= sum(sizes) / BATCHED.of(slots) - 1e-6
    assert all(0 <= workers <= 2 * most for _, workers, _ in found.polls)


def test_busy_workers_go_only_where_they_are_drained() -> None:
    """A burst, then so many jobs that each worker always has one, of the four that it may have."""
    arrivals = [*(0.1 * n for n in range(300)), *(40.0 + 0.5 * n for n in range(4000))]
    sizes = [10.0] * len(arrivals)

    def run(every: float | None) -> SimulationResult:
        scaling = Scaling(1, 20, 4, cold_start=5.0, idle=100.0, drains_every=every)
        return Simulation(arrivals, sizes, BATCHED, 4, scaling).run()

    stays, drains = run(None), run(60.0)
    assert drains.worker_seconds < 0.8 * stays.worker_seconds
    assert drains.polls[-2][1] < stays.polls[-2][1]
    counts = [workers for _, workers, _ in drains.polls]
    assert all(b >= a - 1 for a, b in itertools.pairwise(counts)), "one at a time"


def test_a_million_jobs_are_simulated() -> None:
    """At internet scale too an answer comes in seconds. A tenth of an hour's jobs here."""
    count = 100_000
    arrivals = poisson(1_000_000, count, seed=4)
    scaling = Scaling(100, 1500, jobs_a_worker=4, cold_start=30.0)
    found = Simulation(arrivals, [10.0] * count, BATCHED, 4, scaling).run()
    assert len(found.latencies) == count and found.percentile(0.5) < 60


def test_the_pace_of_a_bench_is_read() -> None:
    pace = from_bench(RESULTS / "serve-epyc.json", "musicgen int8")
    saved = json.loads((RESULTS / "serve-epyc.json").read_text())["medians"]["musicgen int8"]
    for number, each in saved.items():
        assert pace.of(int(number)) == pytest.approx(each["throughput"])
    assert pace.of(1) < pace.of(2) < pace.of(4)
    assert pace.of(100) == pace.of(8) and pace.of(0) == 0
    with pytest.raises(InvalidRequest, match="musicgen int8"):
        from_bench(RESULTS / "serve-epyc.json", "nobody")
    with pytest.raises(InvalidRequest, match=r"bench/serve\.py"):
        from_bench(RESULTS / "codec-epyc.json")


def test_an_estimate_grows_with_jobs_and_bandwidth_and_says_that_it_is_one() -> None:
    slow, fast = (estimate("small", "x", bandwidth) for bandwidth in (300, 600))
    assert slow.is_estimate and "estimate" in slow.source
    for jobs in (1, 3, 8, 32):
        assert fast.of(jobs) == pytest.approx(2 * slow.of(jobs))
        assert slow.of(jobs) < slow.of(jobs + 1) or jobs >= 32
    assert estimate("large", "x", 300).of(1) < slow.of(1)
    with pytest.raises(InvalidRequest, match="--throughput"):
        estimate("huge", "x", 300)


@pytest.mark.parametrize("p95", [15.0, 30.0, 120.0])
def test_the_fewest_workers_that_keep_the_promise(p95: float) -> None:
    load = Workload(jobs_per_hour=1800, seconds=10, p95=p95, slots=4)
    found = assess(load, Offer("any", "any", 1.0), BATCHED)
    assert found.replicas is not None and found.p95 <= p95
    arrivals, sizes = poisson(1800, 2000), [10.0] * 2000
    if found.replicas > 1:
        fewer = Simulation(arrivals, sizes, BATCHED, 4, keep_workers(found.replicas - 1)).run()
        assert fewer.percentile(0.95) > p95
    assert found.always_on == pytest.approx(found.replicas / (1800 * 10 / 60))


def test_what_no_number_of_workers_can_keep_is_said() -> None:
    load = Workload(jobs_per_hour=10, seconds=30, p95=20, slots=4)
    assert assess(load, Offer("any", "any", 1.0), BATCHED).replicas is None


def test_seldom_jobs_are_cheaper_serverless_and_many_are_not() -> None:
    offer = Offer("any", "any", 1.0, 0.7)
    seldom, many = (assess(Workload(jobs, 10, 120, 4), offer, BATCHED) for jobs in (2.0, 1200.0))
    assert seldom.serverless < seldom.always_on and many.always_on < many.serverless
    assert seldom.cold_share > 0.9 > many.cold_share
    assert seldom.break_even is not None and 2 < seldom.break_even < 1200


def test_every_price_has_its_source_and_its_gpu_is_known() -> None:
    for offer in offers():
        assert offer.platform in PRICES["sources"] and offer.platform in PRICES["notes"]
        assert offer.gpu in PRICES["bandwidth_gb_per_second"]
        assert 0 < offer.always_on <= offer.usd_per_hour


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--jobs-per-hour", "60", "--gpu", "L4"]) == 0
    told = capsys.readouterr().out
    assert "Cheapest:" in told and "estimate" in told and PRICES["read"] in told
    assert all(name in told for name in ("runpod", "hf", "kubernetes"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--jobs-per-hour", "1", "--gpu", "abacus"], "one of T4"),
        (["--jobs-per-hour", "1", "--model", "huge"], "--throughput"),
        (["--jobs-per-hour", "1", "--throughput", "x.json"], "needs --gpu"),
        (["--jobs-per-hour", "1", "--gpu", "L4", "--throughput", "x.json"], "bench/serve.py"),
    ],
)
def test_what_cannot_be_planned_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["plan", *arguments]) != 0
    assert said in capsys.readouterr().err


def test_a_promise_that_nobody_keeps_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--jobs-per-hour", "1", "--gpu", "L4", "--p95", "0.1"]) != 0
    assert "No number of workers" in capsys.readouterr().out
