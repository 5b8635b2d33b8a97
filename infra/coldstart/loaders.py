"""What loading costs: from a checkpoint on disk to weights in memory, each in a fresh process.

    python -m infra.coldstart.loaders --checkpoint FOLDER --packed A.packed B.packed --cold

Imports are not counted; all of the weights are in memory at the end, because a mapped file that
nobody has read is not loaded. The last line is one JSON object.
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
from infra.coldstart.results import add_save, tell
from infra.coldstart.servers import ROOT
from musicgen.checkpoints.packed.format import read_header
from musicgen.process.resources import cpu_quota

TIMED = """
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
    done = subprocess.run(
        [sys.executable, "-c", TIMED.format(imports=imports, code=code), str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def contestants(checkpoint: Path, packed: list[Path]) -> dict[str, tuple[Path, str, str]]:
    """Path, imports and code of each."""
    found = {
        f"from_pretrained {dtype}": (checkpoint, THEIRS[0], THEIRS[1].format(dtype=dtype))
        for dtype in ("float32", "bfloat16")
    }
    found |= {
        f"checkpoint {dtype}": (checkpoint, OURS[0], OURS[1].format(dtype=dtype))
        for dtype in ("float32", "bfloat16", "int8")
    }
    for path in packed:
        form = read_header(path)[1].form
        dtype = form.partition("-")[2]
        found[f"packed {form}"] = (path.resolve(), OURS[0], OURS[1].format(dtype=dtype))
    return found


def measured(
    chosen: dict[str, tuple[Path, str, str]], rounds: int, cold: bool
) -> dict[str, dict[str, float]]:
    """Medians by contestant, which take turns."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
    for _ in range(rounds):
        for name, (path, imports, code) in chosen.items():
            make_cold(files_of(path)) if cold else make_warm(files_of(path))
            runs[name].append(load_once(path, imports, code))
    return {
        name: {
            "seconds": statistics.median(run["seconds"] for run in each),
            "least": min(run["seconds"] for run in each),
            "mb": statistics.median(run["mb"] for run in each),
            "file_mb": sum(f.stat().st_size for f in files_of(chosen[name][0])) / 1e6,
        }
        for name, each in runs.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--packed", type=Path, nargs="+", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold", action="store_true", help="also with nothing in the page cache")
    add_save(parser)
    options = parser.parse_args()
    chosen = contestants(options.checkpoint.resolve(), options.packed)
    result: dict[str, Any] = {
        "name": "coldstart-loaders",
        "machine": machine("cpu", cpu_quota()),
        "model": options.checkpoint.name,
        "rounds": options.rounds,
        "warm": measured(chosen, options.rounds, cold=False),
    }
    if options.cold:
        result["cold"] = measured(chosen, options.rounds, cold=True)
    slow = result["warm"]["from_pretrained bfloat16"]["seconds"]
    result["ratios"] = {
        name: slow / each["seconds"] for name, each in result["warm"].items() if "packed" in name
    }
    tell(result, options)


if __name__ == "__main__":
    main()
