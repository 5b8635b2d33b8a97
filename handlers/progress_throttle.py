"""When to report the progress of a request: seldom enough for a log or a remote API."""

from __future__ import annotations

from musicgen.result import Progress

EVERY_SECONDS = 1.0
EVERY_FRACTION = 0.05


class ProgressThrottle:
    """Limit of one report a second and one in five percent. `now`: seconds of a steady clock."""

    def __init__(self, now: float) -> None:
        self._time = now
        self.fraction = 0.0
        """Progress at the last report, 0 to 1."""

    def is_due(self, progress: Progress, now: float) -> bool:
        """Whether enough time and progress lie between the last report and this one."""
        return (
            now - self._time >= EVERY_SECONDS
            and progress.fraction - self.fraction >= EVERY_FRACTION
        )

    def record(self, progress: Progress, now: float) -> None:
        """Remember a report."""
        self._time, self.fraction = now, progress.fraction
