"""Run all benchmarks of a GPU, and save their figures under the GPU's name.

    python bench/gpu.py                  # small, medium and large, with random weights
    python bench/gpu.py --dry-run        # test the commands with toy weights on the processor

Runs bench/decode.py, bench/serve.py and bench/codec.py one after another and reports their exit
statuses. bench/page.py makes tables of the saved figures. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: the repository root is not on the path
    sys.path.insert(0, str(ROOT))

import torch

OURS, FUSED = "musicgen bfloat16", "musicgen-compiled bfloat16"
PEER, COMPILED = "transformers bfloat16", "transformers-static bfloat16"


@dataclass(frozen=True)
class BenchSettings:
    """Options of the benchmarks. `seconds`: duration of a clip."""

    models: tuple[str, ...]
    device: str
    seconds: float
    callers: tuple[int, ...]
    rounds: int


FULL = BenchSettings(
    tuple(f"musicgen-{size}" for size in ("small", "medium", "large")),
    "cuda:0",
    seconds=30.0,
    callers=(1, 8, 32, 64),
    rounds=3,
)
DRY = BenchSettings(("toy",), "cpu", seconds=0.5, callers=(1, 2), rounds=1)


def build_commands(settings: BenchSettings, results: Path) -> list[list[str]]:
    """Return the commands in order, each as a script and its arguments."""
    options = ["--device", settings.device, "--rounds", str(settings.rounds)]
    name = _slug(settings.device)
    commands = []
    for model in settings.models:
        common = [*options, "--model", model, "--seconds", str(settings.seconds)]
        commands += [
            ["decode.py", *common, "--contestants", OURS, FUSED, PEER, COMPILED],
            ["serve.py", *common, "--contestants", OURS, PEER, "--callers"]
            + [str(callers) for callers in settings.callers],
        ]
        for command in commands[-2:]:
            kind = command[0].removesuffix(".py")
            command += ["--save", str(results / f"{kind}-{model}-{name}.json")]
    codec = ["codec.py", *options, "--model", settings.models[0]]
    codec += ["--seconds", str(settings.seconds)]
    commands.append([*codec, "--save", str(results / f"codec-{name}.json")])
    return commands


def _slug(device: str) -> str:
    name = "dry-run" if device == "cpu" else torch.cuda.get_device_name(device)
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--results", type=Path, default=ROOT / "bench/results")
    options = parser.parse_args()
    if not options.dry_run and not torch.cuda.is_available():
        sys.exit("This machine has no GPU. To test on the processor: python bench/gpu.py --dry-run")
    options.results.mkdir(parents=True, exist_ok=True)
    done = {}
    for command in build_commands(DRY if options.dry_run else FULL, options.results):
        print("+ python bench/" + " ".join(command), flush=True)
        run = subprocess.run([sys.executable, str(ROOT / "bench" / command[0]), *command[1:]])
        done[Path(command[-1]).stem] = run.returncode
    print(json.dumps({"name": "gpu", "return_codes": done}))
    if any(done.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
