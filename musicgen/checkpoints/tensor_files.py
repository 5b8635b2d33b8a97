"""Tensors of a Hugging Face folder: safetensors or `pytorch_model.bin`, single or sharded.

safetensors are memory-mapped: a tensor costs nothing until its first use.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Protocol, TypeGuard

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from musicgen.checkpoints.folder_files import weight_files
from musicgen.errors import CheckpointCorrupt


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


def load_pickle(path: Path, advice: str) -> Any:
    """Load the content of a file that torch.save wrote. Raises: `CheckpointCorrupt`."""
    try:
        # weights_only: a pickle could otherwise run any code.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        # PyTorch's own text advises to read the file with weights_only=False.
        raise CheckpointCorrupt(
            f"{path} holds more than weights, or is damaged. {advice}"
        ) from error
    except (RuntimeError, OSError, EOFError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise CheckpointCorrupt(
            f"{path} is truncated or not a file of PyTorch's weights ({reason}). {advice}"
        ) from error


def holds_tensors(content: object) -> TypeGuard[dict[str, Tensor]]:
    """Return whether `content` has nothing but dense tensors by name."""
    return isinstance(content, dict) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) and tensor.layout is torch.strided
        for name, tensor in content.items()
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
        tensors = load_pickle(path, "Download it again.")
        if not holds_tensors(tensors):
            raise CheckpointCorrupt(
                f"{path} holds no weights by name. Save the model's state_dict(), or download the "
                "file again."
            )
        self._tensors = tensors

    def names(self) -> list[str]:
        return list(self._tensors)

    def tensor(self, name: str) -> Tensor:
        return self._tensors[name]
