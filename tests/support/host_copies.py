"""Find what makes the host wait for a device, on a machine without one: meta tensors stand in."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_READS = ("_local_scalar_dense", "item", "nonzero", "is_nonzero", "equal", "masked_select")
_INDEXING = (torch.Tensor.__getitem__, torch.Tensor.__setitem__)


class HostWaits(ExitStack):
    """Context that raises `AssertionError` where the host would wait for the device.

    These read values of the device, copy between host and device without `non_blocking`, build a
    tensor of the device from numbers, or mix a tensor of the host, except a scalar, into an
    operator of the device. `copies` counts the copies that do not wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self.copies = 0

    def __enter__(self) -> HostWaits:
        super().__enter__()
        self.enter_context(_Operators())
        self.enter_context(_Calls(self))
        return self


class _Calls(TorchFunctionMode):
    """Calls from Python, before PyTorch turns lists into tensors."""

    def __init__(self, waits: HostWaits) -> None:
        super().__init__()
        self._waits = waits

    def __torch_function__(  # type: ignore[no-untyped-def]
        self, func, types, args=(), kwargs=None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func is torch.tensor and result.device.type != "cpu":
            raise AssertionError("a tensor of the device is built from numbers of the host")
        if func in _INDEXING and args[0].device.type != "cpu":
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(part, list) for part in index):
                raise AssertionError("a list of the host indexes a tensor of the device")
        if func in (torch.Tensor.to, torch.Tensor.copy_):
            devices = {t.device.type for t in (*args, result) if isinstance(t, torch.Tensor)}
            if len(devices) > 1 and not kwargs.get("non_blocking", False):
                raise AssertionError(f"{func} copies between host and device, and waits")
            self._waits.copies += len(devices) > 1
        return result


class _Operators(TorchDispatchMode):
    """Operators that read values, or mix tensors of host and device."""

    def __torch_dispatch__(  # type: ignore[no-untyped-def]
        self, func, types, args=(), kwargs=None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        on_device = [tensor for tensor in tensors if tensor.device.type != "cpu"]
        if name in _READS and on_device:
            raise AssertionError(f"{func} reads a value of the device")
        is_mixed = on_device and any(t.device.type == "cpu" and t.dim() > 0 for t in tensors)
        if is_mixed and name not in ("_to_copy", "to", "copy_"):
            raise AssertionError(f"{func} mixes tensors of the host and of the device")
        return func(*args, **kwargs)
