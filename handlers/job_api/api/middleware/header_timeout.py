"""Who opens a connection says what it wants in time: uvicorn's protocol with a limit for that.

It has one for connections that have had their answer, and none for those that send their headers a
byte at a time, of which a few hundred would hold all that it can open.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

SECONDS_MAX = 20.0


def protocol(body_seconds: float) -> type[H11Protocol]:
    """For an API whose bodies may take that long: headers may take no longer."""
    seconds = min(SECONDS_MAX, body_seconds)
    return type("_Patient", (_Patient,), {"seconds": seconds})


class _Patient(H11Protocol):
    """Closes a connection whose headers have not come whole `seconds` after their first byte, or
    after it was opened."""

    seconds = SECONDS_MAX
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._no_more()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if not self._waits:
            self._no_more()
        elif self._late is None:
            self._late = self.loop.call_later(self.seconds, self._give_up)

    @property
    def _waits(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _no_more(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        if self._waits:
            self.transport.close()
