"""Limits of calls: what they count, and that the clients of the past take no memory."""

from __future__ import annotations

import threading
import time
import tracemalloc

from handlers.job_api.api.rate_limits import RateLimiter

CLIENTS = 5_000


def test_the_window_moves_with_the_calls() -> None:
    limiter = RateLimiter("3/second")
    assert [limiter.hit("a") for _ in range(3)] == [None] * 3
    assert limiter.is_reached("a") and not limiter.is_reached("b")
    assert limiter.hit("a") == 1
    assert limiter.hit("b") is None
    time.sleep(1.05)
    assert not limiter.is_reached("a")
    assert [limiter.hit("a") for _ in range(4)] == [None, None, None, 1]


def test_the_wait_ends_with_the_oldest_call_of_the_window() -> None:
    limiter = RateLimiter("2/hour")
    assert limiter.hit("a") is None and limiter.hit("a") is None
    assert limiter.hit("a") in (3599, 3600)


def test_clients_of_the_past_take_no_memory() -> None:
    """Each address that had ever called took half a kilobyte for ever, and time at each call."""
    threads = threading.active_count()
    tracemalloc.start()
    try:
        limiter = RateLimiter("600/second")
        for number in range(CLIENTS):
            assert limiter.hit(f"2001:db8:0:{number:x}::/64") is None
        assert threading.active_count() == threads
        time.sleep(1.05)
        limiter.hit("a later one")
        time.sleep(0.1)
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < most / 20
