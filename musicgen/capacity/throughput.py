"""Throughput of a worker: seconds of audio a second, by the number of concurrent jobs."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicgen.errors import InvalidRequest

FRAMES_A_SECOND = 50
EFFICIENCY = 0.3
"""Share of a GPU's memory bandwidth assumed by an estimate, not measured.

A processor reaches 0.7 to 0.9; a GPU loses more between its many small kernels."""
READ_GB = {
    "small": (0.72, 0.15),
    "medium": (3.2, 0.44),
    "large": (5.67, 0.59),
    "audiogen-medium": (3.2, 0.15),
}
"""Gigabytes read by a step: 16-bit weights, and keys and values of one half-done guided clip.

The window of audiogen-medium is a third of the others'."""


@dataclass(frozen=True)
class Pace:
    """Throughput by the number of concurrent jobs.

    `measured`: pairs of jobs, rising, and their total audio seconds a second. Between two pairs the
    throughput is linear, beyond the last it is constant. `source`: where the figures come from.
    """

    measured: tuple[tuple[int, float], ...]
    source: str
    is_estimate: bool = False

    def of(self, jobs: int) -> float:
        """Return the total throughput of `jobs` concurrent jobs; 0 for none."""
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
    """Return the throughput in a result file of `bench/serve.py --save`.

    Raises: `InvalidRequest` for another file, or an unknown contestant.
    """
    try:
        saved: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        medians: Mapping[str, Any] = saved["medians"]
        paces = {
            name: sorted((int(n), float(row["throughput"])) for n, row in rows.items())
            for name, rows in medians.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        problem = "must be a file of bench/serve.py --save"
        raise InvalidRequest("--throughput", problem, value=path) from error
    ours = [name for name in paces if name.startswith("musicgen")]
    name = contestant or (ours[-1] if ours else "")
    if not paces.get(name):
        raise InvalidRequest("--contestant", f"must be one of {', '.join(paces)}", value=name)
    points = paces[name]
    return Pace(tuple(points), f"{name} in {path.name}")


def estimate(model: str, gpu: str, bandwidth: float) -> Pace:
    """Estimate the throughput of a GPU from its memory bandwidth in GB a second.

    A step takes as long as reading its weights and the clips' keys and values, at `EFFICIENCY` of
    the bandwidth. Raises: `InvalidRequest` for an unknown model.
    """
    if model not in READ_GB:
        raise InvalidRequest(
            "--model",
            f"must be one of {', '.join(READ_GB)}",
            value=model,
            advice="For another model give --throughput FILE.",
        )
    weights, past = READ_GB[model]
    points = []
    for jobs in (1, 2, 4, 8, 16, 32):
        step = (weights + jobs * past) / (bandwidth * EFFICIENCY)
        points.append((jobs, jobs / (FRAMES_A_SECOND * step)))
    return Pace(tuple(points), f"estimate from {gpu}'s memory bandwidth", is_estimate=True)
