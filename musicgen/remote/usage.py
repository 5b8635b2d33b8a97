"""What a request has used elsewhere."""

from __future__ import annotations

import time


class Meter:
    """Seconds of compute, piece by piece: as the platform tells them, or else the time from when
    the work was seen to run until it ended here.

    `lost` is set where work may go on that nobody here hears of any more.
    """

    def __init__(self) -> None:
        self._pieces: list[float] = []
        self.lost = False

    @property
    def seconds(self) -> float:
        return sum(self._pieces)

    @property
    def ran(self) -> bool:
        """False as long as nothing was begun elsewhere."""
        return bool(self._pieces) or self.lost

    def add(self, seconds: float) -> None:
        """Another piece of work, as it was measured here."""
        self._pieces.append(max(seconds, 0.0))

    def tell(self, seconds: object) -> None:
        """What the platform says of the latest piece; anything but a number changes nothing."""
        if self._pieces and isinstance(seconds, (int, float)) and seconds >= 0:
            self._pieces[-1] = float(seconds)


class Job:
    """A job elsewhere, from being asked for until it has ended. `told`: its seconds of compute by
    the platform's own count, None where it has none."""

    def __init__(self) -> None:
        self._asked = time.monotonic()
        self._began: float | None = None
        self.told: object = None

    @property
    def runs(self) -> bool:
        return self._began is not None

    @property
    def seconds(self) -> float:
        """Since it was first seen to run; of one that was never seen to, since it was asked for."""
        return time.monotonic() - (self._asked if self._began is None else self._began)

    def seen_running(self) -> None:
        if self._began is None:
            self._began = time.monotonic()
