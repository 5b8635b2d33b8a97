"""Estimate of the time of a clip on a platform's GPU, for the checks ahead of a deployment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from musicgen.capacity.throughput import Pace, estimate
from musicgen.errors import InvalidRequest

BANDWIDTH: dict[str, float] = {
    "T4": 320,
    "L4": 300,
    "A10": 600,
    "2000-ADA": 224,
    "5090": 1792,
    "A40": 696,
    "L40S": 864,
    "RTX-PRO-6000": 1597,
    "A100-40GB": 1555,
    "A100-80GB": 1935,
    "H100": 2000,
    "H200": 4800,
    "B200": 7700,
}
"""Memory bandwidth in GB a second by NVIDIA's data sheets; the slowest variant of each name.

A100 and H100 are those for PCIe: SXM has 2039 and 3350. B200 is an eighth of an HGX B200's 62 TB/s.
"""
NAMES: dict[str, str] = {
    # Cloud Run
    "nvidia-l4": "L4",
    "nvidia-rtx-pro-6000": "RTX-PRO-6000",
    # Vertex AI
    "NVIDIA_TESLA_T4": "T4",
    "NVIDIA_L4": "L4",
    "NVIDIA_TESLA_A100": "A100-40GB",
    "NVIDIA_A100_80GB": "A100-80GB",
    "NVIDIA_H100_80GB": "H100",
    # SageMaker, by the family of the instance
    "ml.g4dn": "T4",
    "ml.g5": "A10",
    "ml.g6": "L4",
    "ml.g6e": "L40S",
    "ml.p4d": "A100-40GB",
    "ml.p4de": "A100-80GB",
    "ml.p5": "H100",
    "ml.p5e": "H200",
    "ml.p5en": "H200",
    # RunPod: the slowest of each pool. Sources, which place the L4 differently:
    # https://docs.runpod.io/flash/configuration/gpu-types and
    # https://docs.runpod.io/serverless/references/endpoint-configurations
    "AMPERE_16": "2000-ADA",
    "AMPERE_24": "L4",
    "ADA_24": "L4",
    "ADA_32_PRO": "5090",
    "AMPERE_48": "A40",
    "ADA_48_PRO": "L40S",
    "AMPERE_80": "A100-80GB",
    "ADA_80_PRO": "H100",
    "HOPPER_141": "H200",
    # Modal
    "A100": "A100-40GB",
    "H100!": "H100",
    "B200+": "B200",
    # Hugging Face
    "nvidia-t4": "T4",
    "nvidia-a10g": "A10",
    "nvidia-l40s": "L40S",
    "nvidia-a100": "A100-80GB",
    "nvidia-h100": "H100",
    "nvidia-h200": "H200",
    # Replicate
    "gpu-t4": "T4",
    "gpu-l40s": "L40S",
    "gpu-a100-large": "A100-80GB",
    "gpu-h100": "H100",
}
"""GPU of each platform's own name for it, where they differ."""
SIZES = {"small": "small", "medium": "medium", "large": "large", "melody": "medium"}
"""Size of the decoder by the last word of a model's name."""


@dataclass(frozen=True)
class Load:
    """Model, GPUs (one of them serves), and calls at once in one instance.

    `model`: None for the image's own. `gpus`: empty for the processor.
    """

    model: str | None
    gpus: Sequence[str]
    slots: int


def find_pace(load: Load) -> Pace | None:
    """Return the estimated throughput on the slowest of the GPUs, or None without figures."""
    paces = [_estimate(load.model or "", gpu) for gpu in load.gpus]
    known = [pace for pace in paces if pace is not None]
    return min(known, key=lambda pace: pace.of(load.slots)) if known else None


def _estimate(model: str, name: str) -> Pace | None:
    gpu = NAMES.get(name, name)
    if gpu not in BANDWIDTH:
        return None
    own = model.rpartition("/")[2].removeprefix("musicgen-")
    size = own if own == "audiogen-medium" else SIZES.get(own.rpartition("-")[2], own)
    try:
        return estimate(size, name, BANDWIDTH[gpu])
    except InvalidRequest:
        return None
