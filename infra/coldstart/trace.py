"""Show the timeline of one start, from the start of the process to the first audio.

    python -m infra.coldstart.trace --model packed/small.native-int8.packed
    python -m infra.coldstart.trace --model demo --server cog --plot trace.png --cold

The worker records its phases (`musicgen.process.startup`). Every platform gets the same phases with
its first result and in the log. `--server cog` runs the worker in Cog's own server and shows the
server's share too. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.coldstart.caches import files_of, make_cold
from infra.coldstart.results import add_save, write_result
from infra.coldstart.servers import PROMPT, ROOT, build_ours, start_once

WORKER = """
import json, sys
from musicgen.process import startup
startup.begin()
from musicgen.predictor import Predictor
from musicgen.request import GenerationRequest
from musicgen.settings import Settings
predictor = Predictor.load(Settings.from_env())
predictor.warm_up()
startup.ready()
request = GenerationRequest(prompt=sys.argv[1], duration=float(sys.argv[2]))
result = predictor.generate(request)
print(json.dumps(dict(result.start)))
"""
BARS = {
    "interpreter": "Python",
    "prefetch_started": "reading of weights started",
    "imported": "imports",
    "weights_found": "weights found",
    "torch_imported": "import of torch",
    "weights_resident": "weights in memory and checked",
    "model_loaded": "model built",
    "warmed_up": "warm-up",
    "ready": "ready",
    "first_audio": "first audio",
}
"""Phases in order, with their names in the table and the picture."""
WIDTH = 40


def worker_timeline(model: str, precision: str, seconds: float) -> dict[str, float]:
    """Return the timeline of a worker without a server. Raises: `CalledProcessError`."""
    with TemporaryDirectory() as folder:
        environment = os.environ | {
            "MUSICGEN_MODEL": model,
            "MUSICGEN_PRECISION": precision,
            "MUSICGEN_DATA_DIR": folder,
            "PYTHONPATH": str(ROOT),
        }
        done = subprocess.run(
            [sys.executable, "-c", WORKER, PROMPT, str(seconds)],
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
        )
    timeline: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return timeline


def cog_timeline(model: str, precision: str, seconds: float) -> dict[str, float]:
    """Return the timeline of a worker in Cog's server, from the start of the server's process.

    The first phase is the server's own time; it is an offset of all phases of the worker.
    """
    start = start_once(*build_ours(model, precision), seconds)
    offset = start.first_audio - start.phases["first_audio"]
    shifted = {name: offset + value for name, value in start.phases.items()}
    return {"server": offset, **shifted}


def format_table(timeline: Mapping[str, float]) -> str:
    """Return one line for each phase: its end, its duration, and a bar."""
    total, before, lines = max(timeline.values()), 0.0, []
    for name, end in sorted(timeline.items(), key=lambda phase: phase[1]):
        first, last = round(WIDTH * before / total), round(WIDTH * end / total)
        bar = " " * first + "█" * max(1, last - first)
        lines.append(f"{BARS.get(name, name):30} {end:7.2f} s {end - before:+7.2f} s  {bar}")
        before = end
    return "\n".join(lines)


def plot(timelines: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw one row for each timeline, with a colour for each phase."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2 + 0.6 * len(timelines)), layout="constrained")
    axes = figure.subplots()
    names = [n for n in ("server", *BARS) if any(n in phases for phases in timelines.values())]
    colours = {name: f"C{index}" for index, name in enumerate(names)}
    labelled: set[str] = set()
    for label, timeline in timelines.items():
        before = 0.0
        for name, end in sorted(timeline.items(), key=lambda phase: phase[1]):
            legend = BARS.get(name, name) if name not in labelled else None
            axes.barh(label, end - before, left=before, color=colours[name], label=legend)
            labelled.add(name)
            before = end
        axes.text(before, label, f" {before:.2f} s", va="center")
    axes.invert_yaxis()
    axes.set_xlabel("seconds since the start of the process")
    axes.set_xlim(0, 1.12 * max(max(phases.values()) for phases in timelines.values()))
    figure.legend(ncols=5, loc="outside lower center", frameon=False)
    figure.savefig(path, dpi=100, metadata={"Software": None})


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.coldstart.trace", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--model", default="demo", help="a value of MUSICGEN_MODEL")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--server", choices=("none", "cog"), default="none")
    parser.add_argument("--seconds", type=float, default=0.5, help="duration of the first clip")
    parser.add_argument("--cold", action="store_true", help="start with an empty page cache")
    parser.add_argument("--plot", type=Path, metavar="PNG")
    add_save(parser)
    options = parser.parse_args(arguments)
    model = Path(options.model)
    cache = make_cold(files_of(model) if model.exists() else []) if options.cold else "unchanged"
    measure = cog_timeline if options.server == "cog" else worker_timeline
    name = str(model.resolve()) if model.exists() else options.model
    timeline = measure(name, options.precision, options.seconds)
    sys.stdout.write(format_table(timeline) + "\n")
    if options.plot:
        plot({options.server: timeline}, options.plot)
    result = {
        "name": "coldstart-trace",
        "model": model.name,
        "server": options.server,
        "cache": cache,
        "timeline": timeline,
    }
    write_result(result, options)


if __name__ == "__main__":
    main()
