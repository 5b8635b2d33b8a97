"""How fast a worker is: seconds of audio a second, by how many jobs it makes side by side."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicgen.errors import SettingsError

FRAMES_A_SECOND = 50
EFFICIENCY = 0.3
"""Share of a GPU's memory bandwidth that an estimate takes for reached. Not measured: what was
measured on a processor is 0.7 to 0.9, and GPUs lose more between their many small kernels."""
_GB = {"small": (0.72, 0.15), "medium": (3.2, 0.44), "large": (5.67, 0.59)}
"""16-bit weights that a step reads, and keys and values of one clip with guidance in its middle."""


@dataclass(frozen=True)
class Pace:
    """`measured`: audio seconds a second of all jobs together, by their number, rising numbers.
    Between them it is a straight line, beyond the last as there. `source` says where it is from."""

    measured: tuple[tuple[int, float], ...]
    source: str
    is_estimate: bool = False

    def of(self, jobs: int) -> float:
        """All `jobs` together; 0 for none."""
        if jobs <= 0:
            return 0.0
        numbers = [number for number, _ in self.measured]
        right = bisect_right(numbers, jobs)
        if right == 0:
            return self.measured[0][1] * jobs / numbers[0]
        low, rate = self.measured[right - 1]
        if right == len(numbers):
            return rate
        high, faster = self.measured[right]
        return rate + (faster - rate) * (jobs - low) / (high - low)


def from_bench(path: Path, contestant: str | None = None) -> Pace:
    """Of what `bench/serve.py --save` wrote.

    Raises: `SettingsError` for a file that is none, or a contestant that is not in it.
    """
    try:
        saved: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        medians: Mapping[str, Any] = saved["medians"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError("--throughput", str(path), "a file of bench/serve.py --save") from error
    ours = [name for name in medians if name.startswith("musicgen")]
    chosen = contestant or (ours[-1] if ours else "")
    if chosen not in medians:
        raise SettingsError("--contestant", chosen, f"one of {', '.join(medians)}")
    points = sorted((int(n), float(each["throughput"])) for n, each in medians[chosen].items())
    return Pace(tuple(points), f"{chosen} in {path.name}")


def estimated(model: str, gpu: str, bandwidth: float) -> Pace:
    """Of a GPU that reads `bandwidth` GB a second: a step takes as long as reading its weights, and
    what its clips remember, at `EFFICIENCY` of that. Raises: `SettingsError` for other models."""
    if model not in _GB:
        raise SettingsError("--model", model, f"one of {', '.join(_GB)}, or --throughput FILE")
    weights, past = _GB[model]
    points = []
    for jobs in (1, 2, 4, 8, 16, 32):
        step = (weights + jobs * past) / (bandwidth * EFFICIENCY)
        points.append((jobs, jobs / (FRAMES_A_SECOND * step)))
    return Pace(tuple(points), f"estimate from {gpu}'s memory bandwidth", is_estimate=True)
