"""Copies from the host to a device that do not wait for the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def upload(
    values: Tensor | Sequence[float] | Sequence[Sequence[float]],
    device: torch.device,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Copy a tensor or numbers of the host to `device`.

    A copy from pageable memory, as `torch.tensor(values, device=...)` makes, first waits for all
    work queued on a GPU: several decode steps of other requests. From pinned memory it joins the
    queue of the current stream, and later work of that stream finds the values. PyTorch keeps the
    pinned block until the copy has ended.
    """
    host = values if isinstance(values, Tensor) else torch.tensor(values, dtype=dtype)
    if device.type == "cuda":
        host = host.pin_memory()
    return host.to(device, dtype, non_blocking=True)
