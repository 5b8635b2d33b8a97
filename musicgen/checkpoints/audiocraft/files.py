"""Files of an audiocraft model: weights, and the settings of their run."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from musicgen.checkpoints.audiocraft.settings import KEY, RunSettings
from musicgen.errors import CheckpointCorrupt, CheckpointIncomplete

LANGUAGE_MODEL, COMPRESSION_MODEL = "state_dict.bin", "compression_state_dict.bin"
_EXPORT = "Export the run with audiocraft.utils.export."


@dataclass(frozen=True)
class Package:
    """Contents of one file."""

    path: Path
    content: Mapping[str, Any]

    @property
    def pretrained(self) -> str | None:
        """Name of the published model that the file stands for, or None."""
        name = self.content.get("pretrained")
        return None if name is None else str(name)

    @property
    def settings(self) -> RunSettings | None:
        """Settings of the run, or None without any. Raises: `CheckpointCorrupt`."""
        text = self.content.get(KEY)
        return None if text is None else RunSettings.from_yaml(self.path.name, text)

    @property
    def weights(self) -> dict[str, Tensor]:
        """Tensors by audiocraft's names. Raises: `CheckpointCorrupt`."""
        state = self.content.get("best_state", self.content)
        # A file saved by the trainer, not exported, has one level more.
        state = state.get("model", state) if isinstance(state, dict) else state
        if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
            raise CheckpointCorrupt(f"{self.path} holds no weights under best_state. {_EXPORT}")
        return state

    def require_settings(self, advice: str) -> RunSettings:
        """Return the settings. Raises: `CheckpointIncomplete`, `CheckpointCorrupt`."""
        settings = self.settings
        if settings is None:
            raise CheckpointIncomplete(
                f"{self.path} has no settings ({KEY}), and its weights alone do not say how they "
                f"are used. {_EXPORT}{advice}"
            )
        return settings


def read_package(path: Path) -> Package:
    """Read one file. Raises: `CheckpointIncomplete`, `CheckpointCorrupt`."""
    if not path.is_file():
        raise CheckpointIncomplete(f"{path.parent} has no {path.name}: is it audiocraft's folder?")
    try:
        # weights_only: a pickle could otherwise run any code.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointCorrupt(
            f"{path} cannot be read as PyTorch weights: {error}. A checkpoint of the trainer must "
            f"be exported first. {_EXPORT}"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointCorrupt(f"{path} holds no dictionary of weights")
    return Package(path, content)
