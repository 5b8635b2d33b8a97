"""Time clips of one engine in this process, for `bench/image_speed.py`.

    python clip_timer.py SOCKET

Runs inside an image too, where only the package is installed, so it imports nothing else of this
repository. The settings come from the environment. It describes the process in one line of JSON on
the socket, then answers every line with a seed and a number of frames by a line with the seconds of
that clip. `tokens` is a hash of the clip's codes; `exact` that of a clip in float32, where every
way of decoding gives the same tokens.
"""

from __future__ import annotations

import hashlib
import json
import platform
import socket
import sys
import time
from dataclasses import replace
from typing import Any

import torch

from musicgen.checkpoints.locate import locate
from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.interface import Engine, GenerationJob, Row, run_to_end
from musicgen.engine.loading import load_engine
from musicgen.model.native.step_file import describe_step
from musicgen.request import SamplingParams
from musicgen.settings import Settings

PROMPT = "80s pop track with bassy drums and synth"
SAMPLING = SamplingParams(1.0, 250, 0.0, 3.0)
EXACT_FRAMES = 100


def load(settings: Settings) -> Engine:
    """Load the model of `settings`, as a worker does."""
    engine = load_engine(locate(settings.model).folder, settings.model, settings)
    assert isinstance(engine, MusicGenEngine), "the engine of this project"
    return engine


def make_clip(engine: Engine, seed: int, frames: int) -> dict[str, Any]:
    """Make a clip; `decode` is the seconds of a step, `total` those of the clip with its codec."""
    started = time.perf_counter()
    output = run_to_end(engine.generate(GenerationJob((Row(PROMPT, seed, SAMPLING),), frames)))
    total = time.perf_counter() - started
    tokens = int.from_bytes(hashlib.sha256(output.codes.tobytes()).digest()[:4], "big")
    return {"total": total, "decode": output.timings.decode / output.steps, "tokens": tokens}


def main() -> None:
    settings = Settings.from_env()
    assert settings.threads is not None, "MUSICGEN_THREADS must be set, equal for all contestants"
    torch.set_num_threads(settings.threads)
    exact = load(replace(settings, model="demo", precision="float32"))
    tokens = make_clip(exact, 0, EXACT_FRAMES)["tokens"]
    exact.close()
    engine = load(settings)
    about = {
        "model": settings.model,
        "precision": engine.precision,
        "native_step": describe_step(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "exact": tokens,
    }
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(sys.argv[1])
        with connection.makefile("rw") as lines:
            print(json.dumps(about), file=lines, flush=True)
            for line in lines:
                print(json.dumps(make_clip(engine, **json.loads(line))), file=lines, flush=True)


if __name__ == "__main__":
    main()
