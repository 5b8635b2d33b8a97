"""No webhook is lost, whatever ends the API: each arrives at least once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from handlers.job_api.api import webhooks
from handlers.job_api.store import jobs, queue
from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.webhook_deliveries import LEASE_SECONDS, PAUSES, lease_due
from tests.support.job_server import data_folder, job_server
from tests.support.webhook_receiver import Receiver

LOOPBACK = ("127.0.0.0/8",)
OWN = {"MUSICGEN_WEBHOOK_NETWORKS": LOOPBACK[0]}
LIMITS = jobs.JobLimits(queue_max=100, jobs_per_key=100)
WithPool = Callable[[Callable[[Pool], Awaitable[Any]]], Any]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_webhooks_under_way_when_the_api_ends_arrive_later(number: signal.Signals) -> None:
    """Killed, the queue's task stayed "doing"; stopped, it was "aborted". No one sent it again."""
    receiver = Receiver(seconds=9)
    with data_folder() as folder:
        with job_server(folder, "api", **OWN) as first:
            ids = {first.submit(webhook_url=receiver.url) for _ in range(3)}
            for job_id in ids:
                first.http.delete(f"/v1/jobs/{job_id}")
            receiver.until(asked=3)
            first.process.send_signal(number)
            first.process.wait(30)
            assert not receiver.taken
        receiver.seconds, early = 0.0, receiver.asked
        with job_server(folder, "api", **OWN):
            receiver.until(asked=early + 3, taken=3, seconds=LEASE_SECONDS + 15)
    assert {headers["webhook-id"] for headers, _ in receiver.taken} == ids


async def _end_job(pool: Pool, url: str, owner: str = "one") -> str:
    app = await queue.open_queue(pool)
    new = jobs.NewJob(owner, {"prompt": "x"}, "h", 1.0, webhook_url=url)
    job_id = await jobs.submit(pool, app, new, LIMITS, queue.LOCAL)
    await jobs.cancel(pool, owner, job_id)
    return job_id


async def _deliver(pool: Pool, seconds: float) -> None:
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(webhooks.deliver_webhooks(pool, LOOPBACK), seconds)


def test_it_is_tried_for_seven_hours_and_then_given_up(
    with_pool: WithPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sum(PAUSES) >= 7 * 3600
    monkeypatch.setattr(webhooks, "POLL_SECONDS", 0.05)
    receiver = Receiver(refusals=100)

    async def work(pool: Pool) -> None:
        job_id = await _end_job(pool, receiver.url)
        for number, pause in enumerate((*PAUSES, None), start=1):
            await _deliver(pool, 0.5)
            assert receiver.asked == number
            row = (await query(pool, _STATE, job_id))[0]
            assert row["webhook_over"] == (pause is None)
            if pause is not None:
                assert pause - 5 < row["wait"] <= pause
            await query(pool, "UPDATE musicgen_jobs SET webhook_at = now()")
        await _deliver(pool, 0.5)
        assert receiver.asked == len(PAUSES) + 1

    with_pool(work)


_STATE = """
    SELECT webhook_over, extract(epoch FROM webhook_at - now())::float AS wait
    FROM musicgen_jobs WHERE id = %s
"""


def test_two_apis_send_it_once(with_pool: WithPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "POLL_SECONDS", 0.01)
    receiver = Receiver()

    async def work(pool: Pool) -> None:
        ids = [await _end_job(pool, receiver.url) for _ in range(12)]
        await asyncio.gather(_deliver(pool, 2), _deliver(pool, 2))
        assert sorted(h["webhook-id"] for h, _ in receiver.taken) == sorted(ids)
        assert await lease_due(pool, 100) == []

    with_pool(work)


def test_slow_receivers_of_one_owner_do_not_stop_the_others(
    with_pool: WithPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They held all attempts for 15 s each, seven times for each job."""
    monkeypatch.setattr(webhooks, "STOP_SECONDS", 0.1)
    slow, quick = Receiver(seconds=20), Receiver()

    async def work(pool: Pool) -> None:
        for _ in range(webhooks.CONCURRENCY * 2):
            await _end_job(pool, slow.url, "slow")
        await _end_job(pool, quick.url, "quick")
        delivery = asyncio.create_task(_deliver(pool, 20))
        await asyncio.to_thread(quick.until, taken=1, seconds=15)
        # The attempts begin together, in any order.
        await asyncio.to_thread(slow.until, asked=webhooks.OWNER_CONCURRENCY, seconds=10)
        await asyncio.sleep(0.2)
        assert slow.asked == webhooks.OWNER_CONCURRENCY
        delivery.cancel()
        await asyncio.gather(delivery, return_exceptions=True)

    with_pool(work)


def test_the_webhook_of_an_unfinished_job_waits(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        new = jobs.NewJob("one", {"prompt": "x"}, "h", 1.0, webhook_url="http://127.0.0.1:1")
        job_id = await jobs.submit(pool, app, new, LIMITS, queue.LOCAL)
        assert await lease_due(pool, 100) == []
        await jobs.cancel(pool, "one", job_id)
        (lease,) = await lease_due(pool, 100)
        assert (lease.job_id, lease.failures) == (job_id, 0)
        assert await lease_due(pool, 100) == [], "it is under way"

    with_pool(work)
