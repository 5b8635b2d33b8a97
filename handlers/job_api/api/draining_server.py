"""HTTP server that ends its streams and waiting calls when it is told to stop."""

from __future__ import annotations

import socket

import uvicorn
from fastapi import FastAPI

from handlers.job_api.api.context import Context


class DrainingServer(uvicorn.Server):
    """Server of `app`. uvicorn ends the application only after the last answer."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End streams and waiting calls, wait for the last answers, and stop."""
        context: Context | None = getattr(self._app.state, "context", None)
        if context is not None:
            context.drain()
        await super().shutdown(sockets)
