"""Files of an audiocraft model: weights, and the settings of their run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from musicgen.checkpoints.audiocraft.settings import KEY, RunSettings
from musicgen.checkpoints.tensor_files import holds_tensors, load_pickle
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
        if not holds_tensors(state):
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
    content = load_pickle(path, f"A checkpoint of the trainer must be exported first. {_EXPORT}")
    if not isinstance(content, dict):
        raise CheckpointCorrupt(f"{path} holds no dictionary of weights")
    return Package(path, content)
