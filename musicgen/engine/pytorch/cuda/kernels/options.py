"""Options of the step kernels, as the settings name them."""

from __future__ import annotations

from dataclasses import dataclass

INT8 = "int8"
"""Form of a KV cache in 8 bits."""


@dataclass(frozen=True)
class KernelOptions:
    """Options of the kernels in a step.

    `weights`: "" for the model's own, "int8" or "fp8". `overlap`: start each kernel while the last
    one ends. `kv_cache`: "" for the type of the weights, or "int8".
    """

    weights: str = ""
    overlap: bool = False
    kv_cache: str = ""
