"""Steps of the GPU kit, each with a limit and a command, and the calls that group them.

A lent GPU has little time: half an hour, ten minutes for each command, eight files back. The first
call shows whether everything runs and how far large is from its limits; the second measures what
would make it faster; the third starts, first sound and planned memory; the fourth service.
transformers' compiled mode comes last and in steps of its own: compiling all layers takes minutes,
and a step that is stopped loses its figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

Step = tuple[int, list[str]]
"""Limit in seconds, and the arguments of Python."""

MODELS = "{models}"
"""Stands for the folder with the random weights."""
_OURS, _KERNELS = "musicgen bfloat16", "musicgen-kernels bfloat16"
_INT8_CACHE = "musicgen-int8-cache bfloat16"
_PEER, _COMPILED = "transformers bfloat16", "transformers-static bfloat16"
_TESTS = ["-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "--tb=short"]
_TEST_FILES = ["tests/gpu/test_cuda_oracle.py", "tests/gpu/test_cuda.py"]
_PROCESSOR_SLOWNESS = 4


@dataclass(frozen=True)
class StepOptions:
    """Sizes of all steps: full ones on a GPU, or toy ones on the processor."""

    device: str
    seconds: float
    rounds: int
    batches: tuple[int, ...]
    frames: int
    position: int
    requests: int
    free: tuple[float, ...]


FULL = StepOptions("cuda:0", 5.0, 2, (8, 32, 64), 150, 500, 1000, (24.0, 48.0, 0.0))
DRY = StepOptions("cpu", 0.3, 1, (2, 3), 12, 4, 12, (1.0,))


def build_steps(options: StepOptions, *, model: str | None = None) -> dict[str, Step]:
    """Return all steps by name. `model`: in place of the published sizes."""
    script = partial(_build_script, options, model)
    rounds = ["--rounds", str(options.rounds)]
    seconds = ["--seconds", str(options.seconds)]

    def decode(size: str, peer: str = _PEER) -> list[str]:
        return script("decode", size, *seconds, *rounds, "--contestants", _OURS, _KERNELS, peer)

    def batch(size: str, *contestants: str) -> list[str]:
        sizes = ["--batches", *map(str, options.batches)]
        return script("batch", size, *seconds, *sizes, "--contestants", *contestants)

    def profile(size: str) -> list[str]:
        return script("step_profile", size, "--position", str(options.position))

    return {
        "tests": (150, [*_TESTS, *_TEST_FILES]),
        "decode-large": (120, decode("large")),
        "profile-large": (120, profile("large")),
        "batch-large": (150, batch("large", _OURS, _KERNELS, _INT8_CACHE, _PEER)),
        "kernels": (90, ["bench/kernels.py", "--device", options.device]),
        "precision": (90, script("gpu_precision", "small", "--frames", str(options.frames))),
        "profile-small": (70, profile("small")),
        "batch-small": (100, batch("small", "musicgen float32", _OURS, _KERNELS, _PEER)),
        "decode-small": (70, decode("small")),
        "decode-medium": (110, decode("medium")),
        "cold-start": (150, script("gpu_cold_start", "large", *seconds, *rounds)),
        **_build_service_steps(options, model),
        "compiled-small": (170, decode("small", _COMPILED)),
        "compiled-large": (280, decode("large", _COMPILED)),
    }


def _build_service_steps(options: StepOptions, model: str | None) -> dict[str, Step]:
    """Return the steps of many callers, live sound and memory. A longest clip has six `seconds`."""
    script = partial(_build_script, options, model)
    seconds, longest = str(options.seconds), str(6 * options.seconds)
    largest = max(options.batches)

    def serve(size: str, callers: Sequence[int], clip: str, *contestants: str) -> list[str]:
        loads = ["--rounds", "1", "--callers", *map(str, callers)]
        return script("serve", size, "--seconds", clip, *loads, "--contestants", *contestants)

    short = str(2 * options.seconds)
    launches = ["--seconds", longest, "--busy-seconds", short]
    launches += ["--rounds", str(2 * options.rounds + 1)]
    memory = ["--seconds", seconds, "--free", *map(str, options.free)]
    # Its own option names the shapes, since --model takes models that exist.
    soak = ["--random" if part == "--model" else part for part in script("soak", "small")]
    soak += ["--minutes", "1.3", "--requests", str(options.requests)]
    soak += ["--callers", str(largest // 2), "--longest", str(2 * options.frames)]
    codec = ["--seconds", seconds, longest, "--rounds", "3"]
    codec += ["--contestants", "musicgen", "at once", "stream", "stream graph", "transformers"]
    return {
        "serve-large": (110, serve("large", (1, largest // 2), longest, _OURS)),
        "launches": (120, script("launches", "large", *launches)),
        "memory": (100, script("gpu_memory", "large", *memory)),
        "soak": (120, soak),
        "serve-small": (150, serve("small", (1, *options.batches), short, _OURS, _PEER)),
        "codec": (80, script("codec", "small", *codec)),
    }


def _build_script(
    options: StepOptions, model: str | None, name: str, size: str, *more: str
) -> list[str]:
    """Return the arguments of a bench with random weights of `size`, or those of `model`."""
    shapes = model or f"musicgen-{size}"
    common = ["--device", options.device, "--model", shapes, "--checkpoint", f"{MODELS}/{shapes}"]
    return [f"bench/{name}.py", *common, *more]


STEPS = build_steps(FULL)
CALLS = {
    "call-1": ("tests", "decode-large", "profile-large", "batch-large"),
    "call-2": (
        *("kernels", "precision", "profile-small", "batch-small"),
        *("decode-small", "decode-medium"),
    ),
    "call-3": ("cold-start", "serve-large", "launches", "memory"),
    "call-4": ("soak", "serve-small", "codec", "compiled-small"),
    "call-5": ("compiled-large",),
}
"""Steps of one command each, most valuable first."""


def build_dry_steps() -> dict[str, Step]:
    """Return the same steps with toy weights on the processor; tests are collected, not run."""
    steps = build_steps(DRY, model="toy")
    steps["tests"] = (steps["tests"][0], [*steps["tests"][1], "--collect-only"])
    small = ["--warm-up", "2", "--steps", "3", "--precision", "float32"]
    for name in ("profile-large", "profile-small"):
        steps[name] = (steps[name][0], [*steps[name][1], *small])
    # So short a run is all warm-up.
    steps["soak"] = (steps["soak"][0], [*steps["soak"][1], "--allow-growth", "10"])
    steps["kernels"] = (steps["kernels"][0], [*steps["kernels"][1], "--sizes", "toy"])
    return {name: (_PROCESSOR_SLOWNESS * limit, step) for name, (limit, step) in steps.items()}


def find_steps(names: Sequence[str]) -> list[str]:
    """Return the steps of `names`, which may be calls. Raises: `KeyError` for an unknown name."""
    found: list[str] = []
    for name in names:
        if name not in CALLS and name not in STEPS:
            raise KeyError(name)
        found += CALLS.get(name, (name,))
    return found
