"""When to report the progress of a request: seldom enough for a log or a remote API."""

from __future__ import annotations

EVERY_SECONDS = 1.0
EVERY_FRACTION = 0.05


class ProgressThrottle:
    """Limit of one report in `seconds` and in `change` of the progress, from 0 to 1.

    `now`: seconds of a steady clock.
    """

    def __init__(
        self, now: float, seconds: float = EVERY_SECONDS, change: float = EVERY_FRACTION
    ) -> None:
        self._time = now
        self._seconds = seconds
        self._change = change
        self.fraction = 0.0
        """Progress at the last report, 0 to 1."""

    def is_due(self, fraction: float, now: float) -> bool:
        """Whether enough time and progress lie between the last report and this one."""
        # Progress goes back where a job starts again.
        has_moved = abs(fraction - self.fraction) >= self._change
        return has_moved and now - self._time >= self._seconds

    def record(self, fraction: float, now: float) -> None:
        """Remember a report."""
        self._time, self.fraction = now, fraction
