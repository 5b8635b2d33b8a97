"""Settings of RunPod's SDK, which reads them itself: only their form is checked here."""

from __future__ import annotations

import os
from collections.abc import Mapping

from musicgen.errors import SettingsError, find_nearest

LOG_LEVELS = ("NOTSET", "TRACE", "DEBUG", "INFO", "WARN", "ERROR")
_LOG_VARIABLES = ("RUNPOD_LOG_LEVEL", "RUNPOD_DEBUG_LEVEL")
"""The SDK reads the first one that is set."""
_WHOLE = (int, "a whole number")
_ANY = (float, "a number")
NUMBERS: dict[str, tuple[type[int] | type[float], str]] = {
    "RUNPOD_PING_INTERVAL": _WHOLE,
    "RUNPOD_REALTIME_PORT": _WHOLE,
    "RUNPOD_REALTIME_CONCURRENCY": _WHOLE,
    "RUNPOD_GPU_TEST_TIMEOUT": _WHOLE,
    "RUNPOD_GPU_MAX_ERROR_MESSAGES": _WHOLE,
    "RUNPOD_GPU_BENCHMARK_TIMEOUT": _WHOLE,
    "RUNPOD_NETWORK_CHECK_TIMEOUT": _WHOLE,
    "RUNPOD_MIN_MEMORY_GB": _ANY,
    "RUNPOD_MIN_DISK_PERCENT": _ANY,
}
"""Variables that the SDK reads as numbers."""


def check_sdk_settings(env: Mapping[str, str] | None = None) -> None:
    """Check the SDK's variables, whose bad values fail its import with a traceback.

    Raises: `SettingsError`.
    """
    environment = os.environ if env is None else env
    variable = next((name for name in _LOG_VARIABLES if name in environment), None)
    if variable is not None:
        _check_log_level(variable, environment[variable])
    for name, (kind, phrase) in NUMBERS.items():
        try:
            kind(environment.get(name, "0"))
        except ValueError:
            raise SettingsError(name, f"must be {phrase}", value=environment[name]) from None


def _check_log_level(variable: str, level: str) -> None:
    if level.upper() in LOG_LEVELS:
        return
    nearest = find_nearest(level.upper(), LOG_LEVELS)
    advice = f"Did you mean {nearest}?" if nearest else ""
    problem = f"must be one of {', '.join(LOG_LEVELS)}"
    raise SettingsError(variable, problem, value=level, advice=advice)
