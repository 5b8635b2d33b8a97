"""Copies through buffers are copies. With a GPU: tests/gpu."""

from __future__ import annotations

import pytest
import torch

from musicgen.checkpoints.packed.staging import Staging

CPU = torch.device("cpu")


@pytest.mark.parametrize("shape", [(), (1,), (7, 3), (256,), (1000, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
def test_pieces_join(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Of tensors smaller than a buffer, as large as one, and larger."""
    staging = Staging(CPU, piece_bytes=1024)
    for seed in range(3):
        torch.manual_seed(seed)
        tensor = (torch.randn(shape) * 50).to(dtype)
        assert torch.equal(staging.copy(tensor), tensor)
