"""Arrays of a packed file as PyTorch's tensors, and back; both share their memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musicgen.checkpoints.packed.reader import BFLOAT16, NAMES


def build_tensor(array: NDArray[Any]) -> Tensor:
    """Return an array as a tensor; `BFLOAT16` becomes bfloat16."""
    if array.dtype == BFLOAT16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def build_array(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor on a processor as an array; bfloat16 becomes `BFLOAT16`."""
    if tensor.dtype == torch.bfloat16:
        bits: NDArray[np.int16] = tensor.detach().contiguous().view(torch.int16).numpy()
        return bits.view(BFLOAT16)
    return tensor.detach().numpy()


def type_of(dtype: torch.dtype) -> str:
    """Return the type of a tensor's numbers by its name in a packed file."""
    return NAMES[build_array(torch.empty(0, dtype=dtype)).dtype]
