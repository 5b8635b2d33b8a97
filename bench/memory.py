"""Measure the memory of a worker on a processor with one clip in it: `python bench/memory.py`.

The random weights are packed in each form (`musicgen pack`). A fresh process then loads the file as
a worker does and makes one clip; it imports nothing else of the benches. `peak_mb` is its largest
resident memory, with the pages of the mapped file. `anonymous_mb` is what remains when the kernel
drops those pages. `with_torch` says whether the process imported torch. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: the repository root is not on the path
    sys.path.insert(0, str(ROOT))

FORMS = ("native-int4", "native-int8", "native-bfloat16", "native-float32")
WORKER = """
import json, sys, time
from musicgen.checkpoints.locate import locate
from musicgen.engine.interface import GenerationJob, Row, run_to_end
from musicgen.engine.loading import load_engine
from musicgen.request import SamplingParams
from musicgen.settings import Settings

def read_status(name):
    for line in open("/proc/self/status"):
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1e3 * 1.024
    return 0.0

path, seconds, threads = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
settings = Settings(model=path, device="cpu", threads=threads)
engine = load_engine(locate(path).folder, path, settings)
loaded = read_status("VmHWM")
row = Row("80s pop track with bassy drums and synth", 0, SamplingParams(1.0, 250, 0.0, 3.0))
started = time.perf_counter()
output = run_to_end(engine.generate(GenerationJob((row,), round(50 * seconds), stream=True)))
print(json.dumps({
    "peak_mb": round(read_status("VmHWM")),
    "loaded_mb": round(loaded),
    "anonymous_mb": round(read_status("RssAnon")),
    "file_mb": round(read_status("RssFile")),
    "clip_seconds": round(time.perf_counter() - started, 2),
    "with_torch": "torch" in sys.modules,
}))
"""


def measure(checkout: Path, packed: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of a fresh process of `checkout`. Raises: `CalledProcessError`."""
    environment = os.environ | {
        "PYTHONPATH": str(checkout),
        "OMP_NUM_THREADS": str(options.threads),
    }
    command = [sys.executable, "-P", "-c", WORKER, packed, options.seconds, options.threads]
    output = subprocess.check_output(
        [str(part) for part in command], cwd=checkout, env=environment, text=True
    )
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    return figures


def pack(checkout: Path, folder: Path, form: str, output: Path) -> None:
    """Pack `folder` by the code of `checkout`, whose format may differ from ours."""
    program = "from handlers.cli.entry import main; main()"
    command = [sys.executable, "-P", "-c", program, "pack", folder, "--form", form]
    subprocess.run(
        [*map(str, command), "--output", str(output)],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        check=True,
        stdout=sys.stderr,
    )


def main() -> None:
    import torch

    from bench.decode import machine
    from bench.full_size import build_full_size
    from musicgen.process.resources import cpu_quota

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="musicgen-small", help="shapes of a published model")
    parser.add_argument("--checkpoint", type=Path, help="use or make the random weights here")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--threads", type=int, default=cpu_quota())
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--previous", type=Path, help="checkout of a build to compare with")
    parser.add_argument("--save", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    checkouts = {"musicgen": ROOT}
    if options.previous is not None:
        checkouts["previous"] = options.previous.resolve()
    figures = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.checkpoint or Path(scratch) / options.model
        build_full_size(options.model, folder, dtype=torch.float32)
        for form in options.forms:
            for name, checkout in checkouts.items():
                packed = Path(scratch) / f"{name}-{form}.packed"
                pack(checkout, folder, form, packed)
                figures[f"{name} {form}"] = measure(checkout, packed, options)
                packed.unlink()
                print(f"{name} {form}: {figures[f'{name} {form}']}", flush=True)
    ratios = {
        form: round(
            figures[f"previous {form}"]["peak_mb"] / figures[f"musicgen {form}"]["peak_mb"], 3
        )
        for form in options.forms
        if "previous" in checkouts
    }
    result = {
        "name": "memory",
        "machine": machine("cpu", options.threads),
        "model": options.model,
        "seconds_of_audio": options.seconds,
        "ratios": ratios,
        "medians": figures,
    }
    if options.save is not None:
        options.save.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
