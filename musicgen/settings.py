"""The operator's settings: the only module that reads environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from musicgen.errors import SettingsError

ENGINES = ("musicgen", "transformers")
PRECISIONS = ("auto", "float32", "bfloat16")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
DEFAULT_MODEL = "demo"


@dataclass(frozen=True)
class Settings:
    """How a predictor is built.

    `model`: a catalog name, a local folder or a hub name. `device`: auto, cpu, cuda or cuda:N.
    `threads`: CPU threads, None for the container's CPU quota. `data_dir`: where clips go.
    """

    model: str = DEFAULT_MODEL
    device: str = "auto"
    precision: str = "auto"
    engine: str = "musicgen"
    threads: int | None = None
    data_dir: Path = Path("outputs")
    log_level: str = "INFO"

    def __post_init__(self) -> None:
        _check_choice("MUSICGEN_ENGINE", self.engine, ENGINES)
        _check_choice("MUSICGEN_PRECISION", self.precision, PRECISIONS)
        _check_choice("MUSICGEN_LOG_LEVEL", self.log_level, LOG_LEVELS)
        kind, _, index = self.device.partition(":")
        if kind not in ("auto", "cpu", "cuda") or (index and not index.isdigit()):
            raise SettingsError("MUSICGEN_DEVICE", self.device, "auto, cpu, cuda or cuda:N")
        if self.threads is not None and self.threads < 1:
            raise SettingsError("MUSICGEN_THREADS", str(self.threads), "a whole number from 1")

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Reads MUSICGEN_MODEL, _DEVICE, _PRECISION, _ENGINE, _THREADS, _DATA_DIR, _LOG_LEVEL.

        An empty variable counts as unset. Raises: `SettingsError` naming the variable.
        """
        env = os.environ if env is None else env
        given = {
            name: env[f"MUSICGEN_{name.upper()}"]
            for name in ("model", "device", "precision", "engine", "log_level")
            if env.get(f"MUSICGEN_{name.upper()}")
        }
        threads = env.get("MUSICGEN_THREADS") or None
        if threads is not None and not threads.isdigit():
            raise SettingsError("MUSICGEN_THREADS", threads, "a whole number from 1")
        return cls(
            **given,
            threads=int(threads) if threads else None,
            data_dir=Path(env.get("MUSICGEN_DATA_DIR") or cls.data_dir),
        )


def _check_choice(variable: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SettingsError(variable, value, f"choose one of {', '.join(choices)}")
