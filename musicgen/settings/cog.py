"""Settings of Cog's server, which reads them itself."""

from __future__ import annotations

import os
from collections.abc import Mapping

from musicgen.settings.declaration import Declaration

CONCURRENCY = Declaration(
    variable="COG_MAX_CONCURRENCY",
    kind="integer",
    default=1,
    least=1,
    help="Number of predictions that Cog runs at once.",
)


def read_concurrency(env: Mapping[str, str] | None = None) -> int:
    """Return the number of predictions that Cog runs at once. Raises: `SettingsError`."""
    value: int = CONCURRENCY.read(os.environ if env is None else env)
    return value
