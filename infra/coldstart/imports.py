"""Measure the time and memory of imports at a start, each in a new interpreter.

    python -m infra.coldstart.imports --rounds 5
    python -m infra.coldstart.imports --cold

`hot path` is the code to make music; the root files are the modules of the workers. Targets take
turns, so a busy moment of the machine affects all of them. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from typing import Any

from bench.decode import machine
from infra.coldstart.caches import make_cold
from infra.coldstart.results import add_save, write_result
from infra.coldstart.servers import ROOT
from musicgen.process.resources import cpu_quota

TARGETS = {
    "nothing": "pass",
    "numpy": "import numpy",
    "torch": "import torch",
    "hot path": "import musicgen.predictor, tokenizers",
    "predict.py, with cog": "import predict, tokenizers",
    "runpod_handler.py, with runpod": "import runpod_handler, tokenizers",
    "handler.py": "import handler, tokenizers",
    "runpod alone": "import runpod",
    "boto3": "import boto3",
    "huggingface_hub": "from huggingface_hub import snapshot_download",
    "transformers' MusicGen": "from transformers import MusicgenForConditionalGeneration",
}
PROBE = """
import json, resource, sys, time
began = time.perf_counter()
{code}
seconds = time.perf_counter() - began
used = resource.getrusage(resource.RUSAGE_SELF)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps(dict(seconds=seconds, cpu=used.ru_utime + used.ru_stime,
                      mb=int(status["VmHWM"].split()[0]) / 1024, modules=len(sys.modules))))
"""


def import_once(code: str) -> dict[str, float]:
    """Run `code` in a new interpreter; return its seconds, CPU seconds, MB and modules."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(code=code)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    measurement: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measurement


def measure(rounds: int, cold: bool) -> dict[str, dict[str, float]]:
    """Return the medians of all rounds by target."""
    measurements: dict[str, list[dict[str, float]]] = {name: [] for name in TARGETS}
    for _ in range(rounds):
        for name, code in TARGETS.items():
            if cold:
                make_cold([])
            measurements[name].append(import_once(code))
    return {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        | {"least": min(run["seconds"] for run in runs)}
        for name, runs in measurements.items()
    }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.coldstart.imports", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--cold", action="store_true", help="also with an empty page cache")
    add_save(parser)
    options = parser.parse_args()
    result: dict[str, Any] = {
        "name": "coldstart-imports",
        "machine": machine("cpu", cpu_quota()),
        "rounds": options.rounds,
        "warm": measure(options.rounds, cold=False),
    }
    if options.cold:
        result["cold"] = measure(options.rounds, cold=True)
    slow = result["warm"]["transformers' MusicGen"]["seconds"]
    result["ratios"] = {"hot path": slow / result["warm"]["hot path"]["seconds"]}
    write_result(result, options)


if __name__ == "__main__":
    main()
