"""The timeline of one start: where the seconds go from the process's start to the first audio.

    python -m infra.coldstart.trace --model packed/small.native-int8.packed
    python -m infra.coldstart.trace --model demo --server cog --plot trace.png --cold

The worker marks its own phases (`musicgen.process.startup`); each platform gets the same ones with
its first result and in the log. `--server cog` runs it inside Cog's own server and shows that
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
from infra.coldstart.results import add_save, tell
from infra.coldstart.servers import PROMPT, ROOT, ours, start_once

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
    "prefetch_started": "reading of weights begun",
    "torch_imported": "imports",
    "weights_found": "weights found",
    "weights_resident": "weights in memory and checked",
    "model_loaded": "model built",
    "warmed_up": "warm-up",
    "ready": "ready",
    "first_audio": "first audio",
}
"""The phases in their order, as they are called in table and picture."""
WIDTH = 40


def worker_timeline(model: str, precision: str, seconds: float) -> dict[str, float]:
    """Of a bare worker, without any server. Raises: `CalledProcessError`."""
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
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def cog_timeline(model: str, precision: str, seconds: float) -> dict[str, float]:
    """Of a worker in Cog's server, from the start of the server's process: what the server took
    before it started the worker comes first, as an offset of all its phases."""
    start = start_once(*ours(model, precision), seconds)
    offset = start.first_audio - start.phases["first_audio"]
    shifted = {name: offset + value for name, value in start.phases.items()}
    return {"server": offset, **shifted}


def table(timeline: Mapping[str, float]) -> str:
    """A line for each phase: when it ended, how long it took, and a bar of that."""
    total, before, lines = max(timeline.values()), 0.0, []
    for name, end in sorted(timeline.items(), key=lambda each: each[1]):
        first, last = round(WIDTH * before / total), round(WIDTH * end / total)
        bar = " " * first + "█" * max(1, last - first)
        lines.append(f"{BARS.get(name, name):30} {end:7.2f} s {end - before:+7.2f} s  {bar}")
        before = end
    return "\n".join(lines)


def plot(timelines: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Bars, one row for each timeline, a colour for each phase."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2 + 0.6 * len(timelines)), layout="constrained")
    axes = figure.subplots()
    names = [n for n in ("server", *BARS) if any(n in each for each in timelines.values())]
    colours = {name: f"C{index}" for index, name in enumerate(names)}
    told: set[str] = set()
    for label, timeline in timelines.items():
        before = 0.0
        for name, end in sorted(timeline.items(), key=lambda each: each[1]):
            shown = BARS.get(name, name) if name not in told else None
            axes.barh(label, end - before, left=before, color=colours[name], label=shown)
            told.add(name)
            before = end
        axes.text(before, label, f" {before:.2f} s", va="center")
    axes.invert_yaxis()
    axes.set_xlabel("seconds since the process was started")
    axes.set_xlim(0, 1.12 * max(max(each.values()) for each in timelines.values()))
    figure.legend(ncols=5, loc="outside lower center", frameon=False)
    figure.savefig(path, dpi=100, metadata={"Software": None})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="demo", help="what MUSICGEN_MODEL may be")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--server", choices=("none", "cog"), default="none")
    parser.add_argument("--seconds", type=float, default=0.5, help="of the first clip")
    parser.add_argument("--cold", action="store_true", help="with nothing in the page cache")
    parser.add_argument("--plot", type=Path, metavar="PNG")
    add_save(parser)
    options = parser.parse_args(arguments)
    model = Path(options.model)
    cache = make_cold(files_of(model) if model.exists() else []) if options.cold else "as it was"
    timeline_of = cog_timeline if options.server == "cog" else worker_timeline
    known = str(model.resolve()) if model.exists() else options.model
    timeline = timeline_of(known, options.precision, options.seconds)
    sys.stdout.write(table(timeline) + "\n")
    if options.plot:
        plot({options.server: timeline}, options.plot)
    result = {
        "name": "coldstart-trace",
        "model": model.name,
        "server": options.server,
        "cache": cache,
        "timeline": timeline,
    }
    tell(result, options)


if __name__ == "__main__":
    main()
