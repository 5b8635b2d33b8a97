"""State shared by the routes of one API process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from handlers.job_api.api.bodies import BodyReader
from handlers.job_api.api.conversions import Conversions
from handlers.job_api.api.counted_streams import OpenStreams
from handlers.job_api.api.key_ring import KeyRing
from handlers.job_api.api.live_copies import LiveCopies
from handlers.job_api.api.rate_limits import RateLimiter
from handlers.job_api.api.status_feeds import StatusFeeds
from handlers.job_api.api.upload_intake import UploadIntake
from handlers.job_api.store import jobs, queue
from handlers.job_api.store.database import Pool
from handlers.job_api.store.database_meter import DatabaseMeter
from handlers.job_api.store.files import JobFiles
from handlers.job_api.store.notifications import JobNotifications
from handlers.job_api.store.places import find_new_place
from handlers.job_api.store.queue_load import QueueLoadMeter
from handlers.job_api.store.status import build_status
from musicgen.settings.job_api import ApiSettings

if TYPE_CHECKING:
    from procrastinate import App

    from handlers.job_api.api.metrics import ApiMetrics

WRONG_KEY_LIMIT = "20/minute"
OPEN_CALL_LIMIT = "600/minute"
"""Limit of calls without a valid key from one address; many callers may share a proxy's."""


@dataclass
class Context:
    """State of an API process.

    `default_model`: for requests without a model, until a worker has loaded another one.
    `queue_for_new`: the queue of new jobs. `overflow_seconds`: jobs with a longer wait go to the
    remote queue, None for never. `loop`: runs the routes. `draining`: the server is stopping.
    """

    pool: Pool
    app: App
    files: JobFiles
    settings: ApiSettings
    notifications: JobNotifications
    meter: QueueLoadMeter
    database_meter: DatabaseMeter
    metrics: ApiMetrics
    rate: RateLimiter
    needs_keys: bool
    default_model: str
    loop: asyncio.AbstractEventLoop
    queue_for_new: str
    overflow_seconds: float | None = None
    draining: bool = False
    wrong_keys: RateLimiter = field(default_factory=lambda: RateLimiter(WRONG_KEY_LIMIT))
    open_calls: RateLimiter = field(default_factory=lambda: RateLimiter(OPEN_CALL_LIMIT))
    conversions: Conversions = field(default_factory=Conversions)
    bodies: BodyReader = field(default_factory=BodyReader)

    @cached_property
    def feeds(self) -> StatusFeeds:
        """Status of jobs for the streams of events."""
        return StatusFeeds(self.notifications, self.read_status)

    @cached_property
    def streams(self) -> OpenStreams:
        """Open streams by client."""
        return OpenStreams(self.settings.streams_per_key)

    async def read_status(self, job_id: str, owner: str | None = None) -> dict[str, Any] | None:
        """Return the status of a job, or None if there is none. `owner`: only of this owner."""
        row = await jobs.get(self.pool, job_id, owner)
        if row is None:
            return None
        load = await self.meter.read() if row["state"] in ("queued", "running") else None
        return build_status(row, load)

    async def estimate_wait(
        self, owner: str, needs: Sequence[str], priority: int = 0
    ) -> float | None:
        """Return the seconds until a job of `owner`, submitted now, would start on this machine.

        None without a worker that can make it. It rests on the place that the job would have.
        """
        load = await self.meter.read()
        place = None
        if load.makers and load.estimate_wait(needs):
            place = await find_new_place(self.pool, queue.LOCAL, owner, priority)
        return load.estimate_wait(needs, place)

    @cached_property
    def keys(self) -> KeyRing:
        """The valid API keys."""
        return KeyRing(self.pool)

    @cached_property
    def uploads(self) -> UploadIntake:
        """Receiver of callers' sounds."""
        return UploadIntake(self.pool, self.files, self.settings)

    def drain(self) -> None:
        """End all streams and waiting calls, so that a stopping server need not wait for them."""
        self.draining = self.live_copies.draining = True
        self.notifications.wake_all()
        self.feeds.wake_all()

    @cached_property
    def live_copies(self) -> LiveCopies:
        """Live audio from the bucket."""
        return LiveCopies(self.pool, self.notifications)

    async def render_metrics(self) -> bytes:
        """Return the metrics in Prometheus's text format, within two seconds."""
        return self.metrics.render(await self.database_meter.read())
