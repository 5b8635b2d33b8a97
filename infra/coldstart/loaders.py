"""Measure the time to load weights from disk into memory, each in a new process.

    python -m infra.coldstart.loaders --checkpoint FOLDER --packed A.packed B.packed --cold

Imports do not count. Each run reads all weights, because a mapped file without a reader is not
loaded. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.decode import machine
from infra.coldstart.caches import files_of, make_cold, make_warm
from infra.coldstart.results import add_save, write_result
from infra.coldstart.servers import ROOT
from musicgen.checkpoints.packed.format import read_header
from musicgen.process.resources import cpu_quota

PROBE = """
import json, sys, time
{imports}
began = time.perf_counter()
{code}
seconds = time.perf_counter() - began
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps(dict(seconds=seconds, mb=int(status["VmHWM"].split()[0]) / 1024)))
"""
THEIRS = (
    "import torch; from transformers import MusicgenForConditionalGeneration",
    "model = MusicgenForConditionalGeneration.from_pretrained(sys.argv[1], dtype=torch.{dtype})\n"
    "total = sum(float(p.sum()) for p in model.parameters())",
)
OURS = (
    "from pathlib import Path; from musicgen.engine.loading import load_engine\n"
    "from musicgen.settings import Settings",
    'engine = load_engine(Path(sys.argv[1]), "bench", Settings(precision="{dtype}"))',
)


def load_once(path: Path, imports: str, code: str) -> dict[str, float]:
    """Run `imports`, then measure `code` in a new interpreter; return its seconds and MB."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(imports=imports, code=code), str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    measurement: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measurement


def list_loaders(checkpoint: Path, packed: list[Path]) -> dict[str, tuple[Path, str, str]]:
    """Return the path, the imports and the code of every loader by name."""
    loaders = {
        f"from_pretrained {dtype}": (checkpoint, THEIRS[0], THEIRS[1].format(dtype=dtype))
        for dtype in ("float32", "bfloat16")
    }
    loaders |= {
        f"checkpoint {dtype}": (checkpoint, OURS[0], OURS[1].format(dtype=dtype))
        for dtype in ("float32", "bfloat16", "int8")
    }
    for path in packed:
        form = read_header(path)[1].form
        dtype = form.partition("-")[2]
        loaders[f"packed {form}"] = (path.resolve(), OURS[0], OURS[1].format(dtype=dtype))
    return loaders


def measure(
    loaders: dict[str, tuple[Path, str, str]], rounds: int, cold: bool
) -> dict[str, dict[str, float]]:
    """Run the loaders in turn, and return the medians of all rounds by loader."""
    measurements: dict[str, list[dict[str, float]]] = {name: [] for name in loaders}
    for _ in range(rounds):
        for name, (path, imports, code) in loaders.items():
            make_cold(files_of(path)) if cold else make_warm(files_of(path))
            measurements[name].append(load_once(path, imports, code))
    return {
        name: {
            "seconds": statistics.median(run["seconds"] for run in runs),
            "least": min(run["seconds"] for run in runs),
            "mb": statistics.median(run["mb"] for run in runs),
            "file_mb": sum(f.stat().st_size for f in files_of(loaders[name][0])) / 1e6,
        }
        for name, runs in measurements.items()
    }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.coldstart.loaders", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--packed", type=Path, nargs="+", required=True)
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--cold", action="store_true", help="also with an empty page cache")
    add_save(parser)
    options = parser.parse_args()
    loaders = list_loaders(options.checkpoint.resolve(), options.packed)
    result: dict[str, Any] = {
        "name": "coldstart-loaders",
        "machine": machine("cpu", cpu_quota()),
        "model": options.checkpoint.name,
        "rounds": options.rounds,
        "warm": measure(loaders, options.rounds, cold=False),
    }
    if options.cold:
        result["cold"] = measure(loaders, options.rounds, cold=True)
    slow = result["warm"]["from_pretrained bfloat16"]["seconds"]
    result["ratios"] = {
        name: slow / run["seconds"] for name, run in result["warm"].items() if "packed" in name
    }
    write_result(result, options)


if __name__ == "__main__":
    main()
