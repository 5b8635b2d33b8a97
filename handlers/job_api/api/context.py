"""What the routes of one API process share."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from handlers.job_api.store.database import Pool
from handlers.job_api.store.files import Files
from handlers.job_api.store.notifications import News
from handlers.job_api.store.status import LoadMeter
from musicgen.settings.job_api import ApiSettings

if TYPE_CHECKING:
    from procrastinate import App

    from handlers.job_api.api.metrics import ApiMetrics

WRONG_KEYS = "20/minute"


class Rate:
    """Calls of each caller in a moving window, in this process."""

    def __init__(self, limit: str) -> None:
        self._limit = parse(limit)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def wait(self, caller: str) -> int | None:
        """Counts a call; None where it may be made, or the seconds until one may."""
        if self._limiter.hit(self._limit, caller):
            return None
        reset = self._limiter.get_window_stats(self._limit, caller).reset_time
        return max(1, round(reset - time.time()))


@dataclass
class Context:
    """`default_model`: of requests that name none, unless another one is wanted by now."""

    pool: Pool
    app: App
    files: Files
    settings: ApiSettings
    news: News
    meter: LoadMeter
    metrics: ApiMetrics
    rate: Rate
    wrong_keys: Rate
    needs_keys: bool
    default_model: str
    queue_for_new: str
    overflow_seconds: float | None = None
    draining: bool = False
