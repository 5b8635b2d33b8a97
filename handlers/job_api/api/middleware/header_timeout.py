"""HTTP protocol of uvicorn with a header timeout (slowloris protection).

uvicorn closes idle connections after a response, but waits forever for request headers. A few
hundred connections sending one byte at a time would use up all file descriptors.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

SECONDS_MAX = 20.0


def build_protocol(body_seconds: float) -> type[H11Protocol]:
    """Return a protocol class with a header timeout of at most `body_seconds`."""
    seconds = min(SECONDS_MAX, body_seconds)
    return type("_HeaderTimeout", (_HeaderTimeout,), {"seconds": seconds})


class _HeaderTimeout(H11Protocol):
    """Protocol with a header timeout.

    It closes a connection without complete headers `seconds` after it was opened, or after the
    first byte of a later request.
    """

    seconds = SECONDS_MAX
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer of a new connection."""
        super().connection_made(transport)
        self._update_timer()

    def data_received(self, data: bytes) -> None:
        """Parse the data, and stop the timer once the headers are complete."""
        super().data_received(data)
        self._update_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer of a closed connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def _update_timer(self) -> None:
        if not self._awaits_headers:
            self._stop_timer()
        elif self._timer is None:
            self._timer = self.loop.call_later(self.seconds, self._close)

    @property
    def _awaits_headers(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        if self._awaits_headers:
            self.transport.close()
