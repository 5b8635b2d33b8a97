"""Options of the step kernels, as the settings name them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KernelOptions:
    """Options of the kernels in a step.

    `weights`: "" for the model's own, "int8" or "fp8". `overlap`: start each kernel while the last
    one ends.
    """

    weights: str = ""
    overlap: bool = False
