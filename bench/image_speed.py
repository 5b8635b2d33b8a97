"""Compare a worker in its image with the same worker outside it, and without its native step.

    python bench/image_speed.py                   # 15 s of audio of the demo model, 15 rounds

Needs what `make test-images` needs: root, buildah, runc and debootstrap. Builds the worker's image
if it has changed. The contestants:

- "image": the package installed in the image, in a container, with the image's own packed file;
- "outside": this tree, on this machine, with the same packed file;
- "image without the step": the same image, its compiled library hidden by a mount. So decoded an
  image built without a compiler. Such a worker refuses packed files for the native step, so it
  loads the demo checkpoint, with the same weights.

A container shares the kernel and the processors of this machine, so "image" and "outside" should
differ by noise alone. What could make a difference: a library compiled by another compiler, other
versions of packages, another number of threads, another memory allocator. On a busy machine a
container gets a smaller share of the processors, because all its threads count as one group; so
"outside" has a group of its own, too. Figures for the documentation need an idle machine still.

Each contestant has its own process and loads its engine once; `bench/clip_timer.py` measures inside
this process. Rounds are interleaved: every contestant makes a clip in each round, the first one
changes, and the others sleep. A round's clips have one seed. "image" and "outside" must make the
same tokens in every round. int8 has other kernels without the native step and so other tokens;
in float32 all three must make the same. Ratios are of medians, the other's time over that of
"image": above 1, the image is faster. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: the repository root is not on the path
    sys.path.insert(0, str(ROOT))

from bench.decode import machine
from infra.images.build import RECIPES, Image, build_all
from infra.images.programs import start_program
from musicgen.model.native.step_file import LEVEL_NAMES
from musicgen.process.resources import cpu_quota

IMAGE, OUTSIDE, OLD = "image", "outside", "image without the step"
FRAME_RATE = 50
TIMER = ROOT / "bench/clip_timer.py"
PACKED = "/opt/weights/model.packed"
PLACE = "/bench"
_NATIVE = "opt/venv/lib/python3.*/site-packages/musicgen/model/native"
_GROUPS = (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup"))
"""Root of the groups for processor time, by versions 1 and 2 of the kernel's control groups."""
_START_SECONDS, _CLIP_SECONDS, _POLL_SECONDS = 120.0, 600.0, 0.5

Run = dict[str, Any]


@dataclass
class Contestant:
    """A process with a loaded engine, at the other end of a socket."""

    about: Run
    lines: IO[str]

    def make_clip(self, seed: int, seconds: float) -> Run:
        """Return the times of one clip. The others do nothing meanwhile."""
        job = {"seed": seed, "frames": round(seconds * FRAME_RATE)}
        print(json.dumps(job), file=self.lines, flush=True)
        return _read(self.lines)


def _read(lines: IO[str]) -> Run:
    line = lines.readline()
    if not line:
        raise SystemExit("A contestant ended early; its output is above.")
    return dict(json.loads(line))


@contextlib.contextmanager
def connect(
    path: Path, process: AbstractContextManager[Callable[[], bool]]
) -> Iterator[Contestant]:
    """Start a process and wait until its engine is loaded and it has connected to `path`."""
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as stack:
        listener.bind(str(path))
        path.chmod(0o666)  # The image's user has another number.
        listener.listen()
        listener.settimeout(_POLL_SECONDS)
        is_running = stack.enter_context(process)
        connection = _accept(listener, is_running)
        connection.settimeout(_CLIP_SECONDS)
        stack.enter_context(connection)
        lines = stack.enter_context(connection.makefile("rw"))
        yield Contestant(_read(lines), lines)


def _accept(listener: socket.socket, is_running: Callable[[], bool]) -> socket.socket:
    end = time.monotonic() + _START_SECONDS
    while is_running() and time.monotonic() < end:
        with contextlib.suppress(TimeoutError):
            return listener.accept()[0]
    raise SystemExit("A contestant did not start; its output is above.")


@contextlib.contextmanager
def start_outside(path: Path, settings: Mapping[str, str]) -> Iterator[Callable[[], bool]]:
    """Start the timer on this machine, with this tree and this Python."""
    clean = {name: value for name, value in os.environ.items() if "MUSICGEN" not in name}
    process = subprocess.Popen(
        [sys.executable, str(path.parent / TIMER.name), str(path)],
        cwd=path.parent,
        env=clean | dict(settings) | {"PYTHONPATH": str(ROOT)},
    )
    group = _make_group(process.pid)
    try:
        yield lambda: process.poll() is None
    finally:
        process.kill()
        process.wait()
        if group is not None:
            group.rmdir()


def _make_group(pid: int) -> Path | None:
    """Move a process into a control group of its own, and return its folder.

    Returns None without the right to do so.
    """
    for root in _GROUPS:
        if (root / "cgroup.procs").exists() and os.access(root, os.W_OK):
            group = root / f"musicgen-outside-{pid}"
            group.mkdir()
            (group / "cgroup.procs").write_text(str(pid))
            return group
    return None


@contextlib.contextmanager
def start_inside(
    path: Path, image: Image, settings: Mapping[str, str], *, hide_step: bool = False
) -> Iterator[Callable[[], bool]]:
    """Start the timer in a container; its output is shown if it fails."""
    volumes = [f"{path.parent}:{PLACE}:ro"]
    if hide_step:
        [native] = image.root.glob(_NATIVE)
        without = path.parent / "native"
        shutil.copytree(native, without, ignore=shutil.ignore_patterns("_step*.so"))
        volumes.append(f"{without}:/{native.relative_to(image.root)}:ro")
    command = ("python", f"{PLACE}/{TIMER.name}", f"{PLACE}/{path.name}")
    with start_program(image, *command, environment=settings, volumes=volumes) as container:
        try:
            yield container.is_running
        except BaseException:
            sys.stderr.write(container.log.read_text(errors="replace"))
            raise


def measure(
    image: Image, seconds: float, rounds: int, threads: int
) -> tuple[dict[str, Run], dict[str, list[Run]]]:
    """Return the descriptions of the contestants, and their runs without the warm-up."""
    common = {"MUSICGEN_THREADS": str(threads), "MUSICGEN_DEVICE": "cpu"}
    folder = Path(mkdtemp(prefix="musicgen-speed-", dir="/var/tmp"))
    try:
        folder.chmod(0o755)
        shutil.copy(TIMER, folder)
        outside = common | {"MUSICGEN_MODEL": str(image.root / PACKED.lstrip("/"))}
        inside, old = common | {"MUSICGEN_MODEL": PACKED}, common | {"MUSICGEN_MODEL": "demo"}
        paths = [folder / f"{number}.socket" for number in range(3)]
        processes = {
            IMAGE: start_inside(paths[0], image, inside),
            OUTSIDE: start_outside(paths[1], outside),
            OLD: start_inside(paths[2], image, old, hide_step=True),
        }
        with ExitStack() as stack:
            contestants = {
                name: stack.enter_context(connect(path, process))
                for path, (name, process) in zip(paths, processes.items(), strict=True)
            }
            runs = _run_rounds(contestants, seconds, rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {name: one.about for name, one in contestants.items()}, runs


def _run_rounds(
    contestants: Mapping[str, Contestant], seconds: float, rounds: int
) -> dict[str, list[Run]]:
    names = list(contestants)
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for seed in range(rounds + 1):
        first = seed % len(names)
        for name in names[first:] + names[:first]:
            result = contestants[name].make_clip(seed, seconds)
            step, total = 1000 * result["decode"], result["total"]
            print(f"round {seed} {name:22} {total:6.2f} s {step:6.3f} ms/step", flush=True)
            if seed:
                runs[name].append(result)
    return runs


def check(about: Mapping[str, Run], runs: Mapping[str, list[Run]]) -> None:
    """Check that the contestants are what they should be, and made the same music."""
    steps = {name: one["native_step"] for name, one in about.items()}
    assert steps[IMAGE] == steps[OUTSIDE] in LEVEL_NAMES.values(), steps
    assert steps[OLD].startswith("none (not compiled"), steps
    for same in ("precision", "threads", "torch", "python", "exact"):
        assert len({one[same] for one in about.values()}) == 1, (same, about)
    for mine, other in zip(runs[IMAGE], runs[OUTSIDE], strict=True):
        assert mine["tokens"] == other["tokens"], "the image makes other music"


def report(about: Mapping[str, Run], runs: Mapping[str, list[Run]]) -> dict[str, Any]:
    """Return the medians and ratios of checked runs."""
    medians = {
        name: {key: statistics.median(run[key] for run in results) for key in ("decode", "total")}
        for name, results in runs.items()
    }
    return {
        "ratios": {
            f"{what}, {IMAGE} over {peer}": round(medians[peer][what] / medians[IMAGE][what], 3)
            for what in ("decode", "total")
            for peer in (OUTSIDE, OLD)
        },
        "medians": medians,
        "contestants": dict(about),
        "runs": dict(runs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15.0, help="of audio in a clip")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=cpu_quota())
    parser.add_argument("--save", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    recipes = [recipe for recipe in RECIPES if recipe.name == "musicgen-worker"]
    image = build_all(recipes)["musicgen-worker"]
    about, runs = measure(image, options.seconds, options.rounds, options.threads)
    check(about, runs)
    result = {
        "name": "image_speed",
        "machine": machine("cpu", options.threads),
        "model": "demo",
        "seconds_of_audio": options.seconds,
        "rounds": options.rounds,
        **report(about, runs),
    }
    if options.save is not None:
        options.save.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
