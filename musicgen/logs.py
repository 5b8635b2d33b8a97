"""How a process of ours writes its log."""

from __future__ import annotations

import logging
from typing import TextIO


def start_logging(
    level: str, stream: TextIO | None = None, form: str = logging.BASIC_FORMAT
) -> None:
    """Logs from `level` to `stream`, by default standard error, if nothing is set up yet."""
    logging.basicConfig(level=level, stream=stream, format=form)
    # It writes every address that it asks, and a signed one is a secret.
    logging.getLogger("httpx").setLevel(max(logging.WARNING, logging.getLevelName(level)))
