"""Limits of calls in a moving window, with memory only for the clients of that window.

A caller with an IPv6 network has any number of addresses. The in-memory storage of the package
`limits` keeps each of them for ever, in half a kilobyte, and looks at all of them after each call.
"""

from __future__ import annotations

import math
import time
from array import array
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


@dataclass(frozen=True)
class Allowance:
    """Calls of one client: `most` in `window` seconds, and `left` now.

    `seconds`: time until the next call leaves the window, 0 if none is counted.
    """

    most: int
    window: int
    left: int
    seconds: int


class RateLimiter:
    """Limit of calls in a moving window, counted for each client in this process.

    `limit`: N/second, N/minute, N/hour or N/day.
    """

    def __init__(self, limit: str) -> None:
        most, unit = limit.split("/")
        self._most, self._seconds = int(most), _SECONDS[unit]
        # Times of the counted calls; the client with the newest one is the last.
        self._calls: OrderedDict[str, array[float]] = OrderedDict()

    def is_reached(self, client: str) -> bool:
        """Whether the next call of a client is over the limit."""
        return self._count(client, time.monotonic()) >= self._most

    def hit(self, client: str) -> int | None:
        """Count a call and return None, or the seconds to wait if the limit is reached."""
        now = time.monotonic()
        self._forget_silent(now)
        if self._count(client, now) >= self._most:
            return max(1, math.ceil(self._calls[client][0] + self._seconds - now))
        self._calls.setdefault(client, array("d")).append(now)
        self._calls.move_to_end(client)
        return None

    def measure(self, client: str) -> Allowance:
        """Return the calls left to a client; it counts none."""
        now = time.monotonic()
        left = max(0, self._most - self._count(client, now))
        calls = self._calls.get(client)
        seconds = math.ceil(calls[0] + self._seconds - now) if calls else 0
        return Allowance(self._most, self._seconds, left, max(0, seconds))

    def _count(self, client: str, now: float) -> int:
        """Return the number of a client's calls in the window, and forget the earlier ones."""
        calls = self._calls.get(client)
        if calls is None:
            return 0
        del calls[: bisect_right(calls, now - self._seconds)]
        return len(calls)

    def _forget_silent(self, now: float) -> None:
        """Forget the clients without a call in the window."""
        while self._calls:
            client, calls = next(iter(self._calls.items()))
            if calls and calls[-1] > now - self._seconds:
                return
            del self._calls[client]
        # Also the empty table, which is as large as it has ever been.
        self._calls.clear()
