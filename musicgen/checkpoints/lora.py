"""LoRA adapters of the PEFT library, added to the weights of a checkpoint as they are read.

Source: Hu et al. 2021: W + (alpha / r) B A, or alpha / sqrt(r) where the adapter is rank-stabilized
(Kalajdzievski 2023). Merged weights cost nothing when music is made.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from musicgen.checkpoints.tensor_files import TensorFiles, open_file
from musicgen.errors import CheckpointMismatch, UnsupportedCheckpoint
from musicgen.model.config import read_json

ADAPTER_CONFIG = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_PREFIX = "base_model.model."
_PAIRS = {"lora_A.weight": "lora_B.weight", "lora_embedding_A": "lora_embedding_B"}


class Adapter:
    """The adapter of a folder. `names`: the checkpoint's tensors that it changes.

    Raises: `CheckpointIncomplete`, `CheckpointCorrupt`, `UnsupportedCheckpoint` for one that is no
    LoRA, or has parts that cannot be merged.
    """

    def __init__(self, folder: Path) -> None:
        self.path = next((p for n in _WEIGHTS if (p := folder / n).is_file()), folder / _WEIGHTS[0])
        self._config = read_json(folder / ADAPTER_CONFIG)
        kind = self._config.get("peft_type")
        if kind != "LORA" or self._config.get("use_dora"):
            raise UnsupportedCheckpoint(
                f"{folder}: adapters of the kind {'DoRA' if kind == 'LORA' else kind} cannot be "
                "merged here: merge it with peft's merge_and_unload and save the whole model"
            )
        self._file = open_file(self.path)
        self._pairs: dict[str, tuple[str, str]] = {}
        self._whole: dict[str, str] = {}
        for name in self._file.names():
            self._sort(name)

    @property
    def names(self) -> set[str]:
        return {*self._pairs, *self._whole}

    def applied(self, name: str, tensor: Tensor) -> Tensor:
        """What becomes of the checkpoint's tensor `name`. Raises: `CheckpointMismatch`."""
        if name in self._whole:
            tensor = self._matching(name, tensor, self._file.tensor(self._whole[name]))
        if name in self._pairs:
            down, up = (self._file.tensor(part).float() for part in self._pairs[name])
            delta = up @ down * self._scale(name, down.shape[0])
            is_embedding = "lora_embedding" in self._pairs[name][0]
            delta = self._matching(name, tensor, delta.t() if is_embedding else delta)
            tensor = (tensor.float() + delta).to(tensor.dtype)
        return tensor

    def _sort(self, stored: str) -> None:
        """Finds out what a tensor of the adapter belongs to."""
        name = stored.removeprefix(_PREFIX)
        for down, up in _PAIRS.items():
            if name.endswith(f".{down}"):
                module = name.removesuffix(f".{down}")
                self._pairs[f"{module}.weight"] = (stored, stored.replace(down, up))
                return
            if name.endswith(f".{up}"):
                return
        if ".lora_" in name or stored == name:
            raise UnsupportedCheckpoint(f"{self.path}: {stored} cannot be merged here")
        self._whole[name] = stored

    def _scale(self, name: str, rank: int) -> float:
        module = name.removesuffix(".weight")
        alpha = float(self._config.get("lora_alpha") or 8)
        patterns: dict[str, Any] = self._config.get("alpha_pattern") or {}
        for pattern, value in patterns.items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                alpha = float(value)
                break
        return alpha / (math.sqrt(rank) if self._config.get("use_rslora") else rank)

    def _matching(self, name: str, tensor: Tensor, change: Tensor) -> Tensor:
        if change.shape != tensor.shape:
            raise CheckpointMismatch(
                f"{self.path}: {name} has shape {tuple(change.shape)}, but {tuple(tensor.shape)} "
                "in the checkpoint: it is an adapter of another model"
            )
        return change


class AdaptedFiles(TensorFiles):
    """The tensors of a checkpoint's folder, with an adapter merged into them."""

    def __init__(self, folder: Path, adapter: Adapter) -> None:
        super().__init__(folder)
        self._adapter = adapter
        unknown = sorted(name for name in adapter.names if name not in self)
        if unknown:
            raise CheckpointMismatch(
                f"{adapter.path} changes {len(unknown)} tensors that {folder} does not have, such "
                f"as {unknown[0]}: it is an adapter of another model"
            )

    def __getitem__(self, name: str) -> Tensor:
        tensor = super().__getitem__(name)
        return self._adapter.applied(name, tensor) if name in self._adapter.names else tensor


def apply_to(model: torch.nn.Module, folder: Path) -> None:
    """Merges the adapter of a folder into a model of transformers, in place."""
    adapter = Adapter(folder)
    for name, parameter in _named(model, adapter.names):
        with torch.no_grad():
            parameter.copy_(adapter.applied(name, parameter))


def _named(model: torch.nn.Module, names: set[str]) -> Iterator[tuple[str, Tensor]]:
    for name in sorted(names):
        yield name, model.get_parameter(name)
