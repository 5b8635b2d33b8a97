"""Plot of a serve bench's result, for the performance page."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def plot_serve(result: dict[str, Any], path: Path) -> None:
    """Draw the throughput and the time to the first audio over the number of callers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    throughput, first = figure.subplots(1, 2)
    for contestant, loads in result["medians"].items():
        callers = [int(number) for number in loads]
        style = {"marker": "o", "linestyle": "--" if contestant.startswith("trans") else "-"}
        rates = [figures["throughput"] for figures in loads.values()]
        throughput.plot(callers, rates, label=contestant, **style)
        first.plot(callers, [figures["first_p50"] for figures in loads.values()], **style)
    throughput.set(title="Seconds of audio made in a second", xlabel="callers", ylim=(0, None))
    first.set(title="Seconds to the first sound", xlabel="callers", yscale="log")
    throughput.axhline(1, color="gray", linewidth=0.8)
    figure.legend(ncols=5, loc="outside lower center", frameon=False)
    for axes in (throughput, first):
        axes.grid(alpha=0.3)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=100, metadata={"Software": None})
