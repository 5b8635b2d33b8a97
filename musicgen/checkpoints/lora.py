"""LoRA adapters of the PEFT library, merged into the weights of a checkpoint on reading.

Source: Hu et al. 2021: W + (alpha / r) B A, or alpha / sqrt(r) for a rank-stabilized adapter
(Kalajdzievski 2023). Merged weights add no cost to generation.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from musicgen.checkpoints.tensor_files import TensorFiles, open_file
from musicgen.errors import CheckpointMismatch, UnsupportedCheckpoint
from musicgen.model.json_file import read_json

ADAPTER_CONFIG = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_PREFIX = "base_model.model."
_PAIRS = {"lora_A.weight": "lora_B.weight", "lora_embedding_A": "lora_embedding_B"}


class Adapter:
    """The LoRA adapter in a folder.

    Raises: `CheckpointIncomplete`, `CheckpointCorrupt`, `UnsupportedCheckpoint` for another kind of
    adapter, or one with unmergeable parts.
    """

    def __init__(self, folder: Path) -> None:
        self.path = next((p for n in _WEIGHTS if (p := folder / n).is_file()), folder / _WEIGHTS[0])
        self._config = read_json(folder / ADAPTER_CONFIG)
        kind = self._config.get("peft_type")
        if kind != "LORA" or self._config.get("use_dora"):
            raise UnsupportedCheckpoint(
                f"{folder}: adapters of the kind {'DoRA' if kind == 'LORA' else kind} cannot be "
                "merged here: merge with peft's merge_and_unload and save the whole model"
            )
        self._file = open_file(self.path)
        self._pairs: dict[str, tuple[str, str]] = {}
        self._whole: dict[str, str] = {}
        for name in self._file.names():
            self._sort(name)

    @property
    def names(self) -> set[str]:
        """Names of the checkpoint's tensors changed by the adapter."""
        return {*self._pairs, *self._whole}

    def apply(self, name: str, tensor: Tensor) -> Tensor:
        """Return the checkpoint's tensor `name` with the adapter. Raises: `CheckpointMismatch`."""
        if name in self._whole:
            tensor = self._check_shape(name, tensor, self._file.tensor(self._whole[name]))
        if name in self._pairs:
            down, up = (self._file.tensor(part).float() for part in self._pairs[name])
            delta = up @ down * self._scale(name, down.shape[0])
            is_embedding = "lora_embedding" in self._pairs[name][0]
            delta = self._check_shape(name, tensor, delta.t() if is_embedding else delta)
            tensor = (tensor.float() + delta).to(tensor.dtype)
        return tensor

    def _sort(self, stored: str) -> None:
        """Assign a tensor of the adapter to a tensor of the checkpoint."""
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

    def _check_shape(self, name: str, tensor: Tensor, change: Tensor) -> Tensor:
        if change.shape != tensor.shape:
            raise CheckpointMismatch(
                f"{self.path}: {name} has shape {tuple(change.shape)}, but {tuple(tensor.shape)} "
                "in the checkpoint: the adapter belongs to another model"
            )
        return change


class AdaptedFiles(TensorFiles):
    """Tensors of a checkpoint's folder with an adapter merged in."""

    def __init__(self, folder: Path, adapter: Adapter) -> None:
        super().__init__(folder)
        self._adapter = adapter
        unknown = sorted(name for name in adapter.names if name not in self)
        if unknown:
            raise CheckpointMismatch(
                f"{adapter.path} changes {len(unknown)} tensors missing in {folder}, such as "
                f"{unknown[0]}: the adapter belongs to another model"
            )

    def __getitem__(self, name: str) -> Tensor:
        tensor = super().__getitem__(name)
        return self._adapter.apply(name, tensor) if name in self._adapter.names else tensor


def apply_to(model: torch.nn.Module, folder: Path) -> None:
    """Merge the adapter of a folder into a model of transformers, in place."""
    adapter = Adapter(folder)
    for name in sorted(adapter.names):
        parameter = model.get_parameter(name)
        with torch.no_grad():
            parameter.copy_(adapter.apply(name, parameter))
