"""Pack what a bare GPU machine without a network needs, and run the measurements there.

    make gpu-kit                              # here: build/gpu-kit
    sh build/gpu-kit/run.sh call-1            # there, with PyTorch and transformers installed
    sh build/gpu-kit/run.sh tests decode-large
    sh build/gpu-kit/run.sh --dry-run         # every step, on the processor, with toy weights

The kit is one folder of at most 30 MB: wheels of the packages that may be missing there, and the
sources. `run.sh` unpacks them, installs missing packages, and runs the named steps or calls of
`bench/gpu_steps.py`. Each step has a limit in seconds; the steps of a call stay below ten minutes
together, and its files are at most eight. A step's figures are in $OUT/STEP.json; its exit status
and the end of its output are in $OUT/kit.json, written as soon as they are there. Random weights
are drawn on the GPU and kept in the folder $GPU_KIT_WORK (default /tmp/gpu-kit) for later steps and
calls.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import IO, Any

from bench.gpu_steps import CALLS, MODELS, STEPS, Step, build_dry_steps, find_steps

ROOT = Path(__file__).resolve().parents[1]
PYTHON = "3.12"
MAX_BYTES = 30_000_000
"""Half of what travels to the machine: a checkout of the sources may travel with the kit."""
OUTPUT_LINES, MAX_LINE = 40, 400
"""Kept of a step's output."""
PACKAGES = (
    *("cffi", "filelock", "httpx", "httpx-secure", "huggingface-hub", "hypothesis", "pycparser"),
    *("pytest", "pyyaml", "safetensors", "sentencepiece", "soundfile", "soxr", "tokenizers"),
    "tqdm",
)
LEFT_OUT = ("numpy-", "hf_xet-")
"""Large packages that PyTorch and transformers bring along."""
SOURCES = ("bench", "musicgen", "tests", "pyproject.toml")
UNUSED_SOURCES = ("musicgen/demo/checkpoint/model.safetensors", "tests/data", "tests/browser")
"""Large ones that no step reads."""
PLATFORMS = ("2_28", "2_27", "2_24", "2_17")

RUN = """#!/bin/sh
# Unpack the kit next to nothing else, install missing packages, and run the named steps.
set -e
kit=$(cd "$(dirname "$0")" && pwd)
work=${GPU_KIT_WORK:-/tmp/gpu-kit}
export OUT=${OUT:-$work/out}
mkdir -p "$work/site" "$OUT"
tar -xzf "$kit/sources.tar.gz" -C "$work"
export PYTHONPATH="$work:$work/site" PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
cd "$work"
python3 -m bench.gpu_kit install "$kit/wheels" "$work/site"
exec python3 -m bench.gpu_kit run "$@"
"""


def pack(folder: Path, python: str = PYTHON) -> int:
    """Write the kit for a Python version, such as "3.12". Returns: its bytes.

    Raises: `ValueError` for a kit larger than `MAX_BYTES`.
    """
    wheels = folder / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    for old in wheels.iterdir():
        old.unlink()
    tags = [f"--platform=manylinux_{tag}_x86_64" for tag in PLATFORMS]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"]
    command += [f"--python-version={python}", "--implementation=cp", *tags]
    command += ["--platform=manylinux2014_x86_64", "--dest", str(wheels), *PACKAGES]
    subprocess.run(command, check=True)
    for wheel in wheels.iterdir():
        if wheel.name.startswith(LEFT_OUT):
            wheel.unlink()
    write_sources(folder / "sources.tar.gz")
    (folder / "run.sh").write_text(RUN)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if size > MAX_BYTES:
        raise ValueError(f"The kit has {size} bytes; at most {MAX_BYTES} are allowed.")
    return size


def write_sources(path: Path) -> None:
    """Write the sources that the steps need, without compiled files."""

    def select(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        is_compiled = "__pycache__" in member.name or member.name.endswith(".so")
        return None if is_compiled or member.name.startswith(UNUSED_SOURCES) else member

    with tarfile.open(path, "w:gz") as archive:
        for name in SOURCES:
            archive.add(ROOT / name, name, filter=select)


def install(wheels: Path, site: Path) -> list[str]:
    """Install the wheels of packages that are missing here. Returns: their file names."""
    missing = [
        wheel
        for wheel in sorted(wheels.glob("*.whl"))
        if not _is_installed(wheel.name.split("-")[0])
    ]
    if missing:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        command += ["--no-cache-dir", "--upgrade", "--target", str(site), *map(str, missing)]
        subprocess.run(command, check=True)
    return [wheel.name for wheel in missing]


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def run(names: Sequence[str], out: Path, steps: Mapping[str, Step]) -> dict[str, Any]:
    """Run the steps; a step beyond its limit is stopped, and the next one follows."""
    outcomes: dict[str, Any] = {}
    work = Path(os.environ.get("GPU_KIT_WORK", "/tmp/gpu-kit"))
    for name in names:
        limit, command = steps[name]
        command = [part.replace(MODELS, str(work / "models")) for part in command]
        if command[0].endswith(".py"):
            command = [*command, "--save", str(out / f"{name}.json")]
        print(f"+ {name}: python {' '.join(command)}", flush=True)
        started = time.monotonic()
        status, output = _run_step([sys.executable, *command], limit)
        seconds = round(time.monotonic() - started, 1)
        outcomes[name] = {"status": status, "seconds": seconds, "output": output}
        print(f"= {name}: {status} after {seconds} s", flush=True)
        (out / "kit.json").write_text(json.dumps(outcomes, indent=1) + "\n")
    return outcomes


def _run_step(command: list[str], limit: int) -> tuple[str, list[str]]:
    """Run a command and return its exit status and its last lines.

    At its limit its children end with it.
    """
    # Contestants are processes of their own, and would keep the card's memory from the next step.
    process = subprocess.Popen(
        command,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    last: deque[str] = deque(maxlen=OUTPUT_LINES)
    reader = threading.Thread(target=_copy_output, args=(process.stdout, last), daemon=True)
    reader.start()
    try:
        status = str(process.wait(limit))
    except subprocess.TimeoutExpired:
        status = "stopped at its limit"
    # Also after an orderly end: a contestant whose parent failed would wait for it forever.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    reader.join(timeout=5)
    return status, list(last)


def _copy_output(stream: IO[str], last: deque[str]) -> None:
    for line in stream:
        print(line, end="", flush=True)
        last.append(line.rstrip()[:MAX_LINE])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("folder", type=Path)
    packing.add_argument("--python", default=PYTHON)
    installing = commands.add_parser("install")
    installing.add_argument("wheels", type=Path)
    installing.add_argument("site", type=Path)
    running = commands.add_parser("run")
    running.add_argument("steps", nargs="*", metavar="STEP")
    running.add_argument("--dry-run", action="store_true", help="toy weights on the processor")
    options = parser.parse_args()
    if options.command == "pack":
        print(f"{options.folder}: {pack(options.folder, options.python) / 1e6:.1f} MB")
    elif options.command == "install":
        print("installed:", *install(options.wheels, options.site))
    else:
        names = options.steps or (list(STEPS) if options.dry_run else ["call-1"])
        try:
            steps = find_steps(names)
        except KeyError as error:
            sys.exit(f"Unknown step {error}. Choose from {', '.join([*CALLS, *STEPS])}.")
        table = build_dry_steps() if options.dry_run else STEPS
        outcomes = run(steps, Path(os.environ["OUT"]), table)
        print(json.dumps({name: outcome["status"] for name, outcome in outcomes.items()}))


if __name__ == "__main__":
    main()
