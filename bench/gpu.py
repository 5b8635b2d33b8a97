"""Every benchmark of a GPU in one command, its figures saved under the GPU's name.

    python bench/gpu.py                  # small, medium and large, with random weights
    python bench/gpu.py --dry-run        # toy weights on the processor: is everything in place?

Runs bench/decode.py, bench/serve.py and bench/codec.py one after another and says how far each
came. bench/page.py then makes tables of what they saved. The last line is one JSON object.
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
class Plan:
    models: tuple[str, ...]
    device: str
    seconds: float
    callers: tuple[int, ...]
    rounds: int


FULL = Plan(
    tuple(f"musicgen-{size}" for size in ("small", "medium", "large")),
    "cuda:0",
    seconds=30.0,
    callers=(1, 8, 32, 64),
    rounds=3,
)
DRY = Plan(("toy",), "cpu", seconds=0.5, callers=(1, 2), rounds=1)


def commands(plan: Plan, results: Path) -> list[list[str]]:
    """What is run, in its order."""
    where = ["--device", plan.device, "--rounds", str(plan.rounds)]
    name = _slug(plan.device)
    made = []
    for model in plan.models:
        common = [*where, "--model", model, "--seconds", str(plan.seconds)]
        made += [
            ["decode.py", *common, "--contestants", OURS, FUSED, PEER, COMPILED],
            ["serve.py", *common, "--contestants", OURS, PEER, "--callers"]
            + [str(each) for each in plan.callers],
        ]
        for command in made[-2:]:
            kind = command[0].removesuffix(".py")
            command += ["--save", str(results / f"{kind}-{model}-{name}.json")]
    codec = ["codec.py", *where, "--model", plan.models[0], "--seconds", str(plan.seconds)]
    made.append([*codec, "--save", str(results / f"codec-{name}.json")])
    return made


def _slug(device: str) -> str:
    name = "dry-run" if device == "cpu" else torch.cuda.get_device_name(device)
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--results", type=Path, default=ROOT / "bench/results")
    options = parser.parse_args()
    if not options.dry_run and not torch.cuda.is_available():
        sys.exit("no GPU here: python bench/gpu.py --dry-run tries everything on the processor")
    options.results.mkdir(parents=True, exist_ok=True)
    done = {}
    for command in commands(DRY if options.dry_run else FULL, options.results):
        print("+ python bench/" + " ".join(command), flush=True)
        run = subprocess.run([sys.executable, str(ROOT / "bench" / command[0]), *command[1:]])
        done[Path(command[-1]).stem] = run.returncode
    print(json.dumps({"name": "gpu", "return_codes": done}))
    if any(done.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
