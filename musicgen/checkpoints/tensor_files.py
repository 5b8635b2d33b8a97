"""Tensors of a Hugging Face folder: safetensors or `pytorch_model.bin`, single or sharded.

safetensors are memory-mapped: a tensor costs nothing until its first use.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from musicgen.errors import CheckpointCorrupt, CheckpointIncomplete
from musicgen.model.json_file import read_json

SAFETENSORS = "model.safetensors"
PYTORCH_BIN = "pytorch_model.bin"


class TensorFile(Protocol):
    """One file of tensors."""

    def names(self) -> list[str]:
        """Return the names of the tensors."""

    def tensor(self, name: str) -> Tensor:
        """Return one tensor."""


class TensorFiles:
    """All tensors of a folder by name. Raises: `CheckpointIncomplete`, `CheckpointCorrupt`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = {path.name: open_file(path) for path in weight_files(folder)}
        self._where = {
            name: file for file, opened in self._files.items() for name in opened.names()
        }

    @property
    def names(self) -> list[str]:
        """Names of the tensors."""
        return list(self._where)

    def __contains__(self, name: str) -> bool:
        return name in self._where

    def file_of(self, name: str) -> Path:
        """Return the file of a tensor."""
        return self.folder / self._where[name]

    def __getitem__(self, name: str) -> Tensor:
        return self._files[self._where[name]].tensor(name)


def weight_files(folder: Path) -> list[Path]:
    """Return the weight files of a folder, safetensors before `pytorch_model.bin`.

    Raises: `CheckpointIncomplete` without any, or without a file named by the index.
    """
    for single in (SAFETENSORS, PYTORCH_BIN):
        index = folder / f"{single}.index.json"
        if index.exists():
            names = sorted(set(read_json(index).get("weight_map", {}).values()))
        else:
            names = [single] if (folder / single).exists() else []
        missing = [name for name in names if not (folder / name).exists()]
        if missing:
            raise CheckpointIncomplete(f"{folder} lacks {', '.join(missing)}, named in {index}")
        if names:
            return [folder / name for name in names]
    raise CheckpointIncomplete(
        f"{folder} has no weights: looked for {SAFETENSORS} and {PYTORCH_BIN}, whole or sharded"
    )


def open_file(path: Path) -> TensorFile:
    """Open one file of tensors. Raises: `CheckpointCorrupt`."""
    return _Safetensors(path) if path.suffix == ".safetensors" else _Pickled(path)


class _Safetensors:
    def __init__(self, path: Path) -> None:
        try:
            self._file: Any = safe_open(str(path), framework="pt")
        except (SafetensorError, OSError) as error:
            raise CheckpointCorrupt(
                f"{path} is truncated or not a safetensors file ({error}): download it again"
            ) from error

    def names(self) -> list[str]:
        return list(self._file.keys())

    def tensor(self, name: str) -> Tensor:
        tensor: Tensor = self._file.get_tensor(name)
        return tensor


class _Pickled:
    def __init__(self, path: Path) -> None:
        try:
            # weights_only: a pickle could otherwise run any code.
            self._tensors: Mapping[str, Tensor] = torch.load(
                path, map_location="cpu", weights_only=True, mmap=True
            )
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
            raise CheckpointCorrupt(
                f"{path} is truncated or not a PyTorch weights file ({error}): download it again"
            ) from error

    def names(self) -> list[str]:
        return list(self._tensors)

    def tensor(self, name: str) -> Tensor:
        return self._tensors[name]
