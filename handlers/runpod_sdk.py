"""Preparation of the import of RunPod's SDK: its settings are checked, and it becomes faster."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

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
_CPU_INFO = Path("/proc/cpuinfo")


def check_sdk_settings(environment: Mapping[str, str]) -> None:
    """Check the SDK's variables, whose bad values fail its import with a traceback.

    Raises: `SettingsError`.
    """
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


def preset_processor_name() -> None:
    """Answer the SDK's question for the processor name. Call before `import runpod`.

    It saves about a second. On import the SDK asks py-cpuinfo for the name, for one line of its
    debugger. py-cpuinfo then starts processes and measures clock rates, longer than the rest of the
    SDK takes.
    """
    name = read_processor_name(_CPU_INFO)
    if name is None:
        return
    try:
        import cpuinfo  # type: ignore[import-untyped]
    except ImportError:
        return
    cpuinfo.get_cpu_info = lambda: {"brand_raw": name}


def read_processor_name(cpu_info: Path) -> str | None:
    """Return the processor name of the kernel's `cpu_info` file, or None without one."""
    try:
        lines = cpu_info.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, None)
