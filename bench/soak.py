"""Run random load on one engine for half an hour; check every reply and the growth of memory.

    python bench/soak.py --minutes 30                    # the demo, six callers
    python bench/soak.py --model FOLDER --device cuda --callers 32
    python bench/soak.py --random musicgen-small --device cuda:0 --requests 1000

Each client sends random requests in a loop: one to three clips of up to four seconds, with and
without guidance, whole or streamed. Some are larger than the whole batch, some are read slowly, and
some are cancelled in the middle. At the end no row may be in use and no job may wait. Fails if a
request is neither answered nor cancelled, or if memory grows from the second quarter of the run to
the last by more than --allow-growth (a twentieth): the resident memory, and on a GPU also what
PyTorch has reserved there. With --requests the run ends after so many, or after --minutes. The last
line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: the repository root is not on the path
    sys.path.insert(0, str(ROOT))

import numpy as np
import torch

from bench.decode import machine, resident_bytes
from musicgen.checkpoints.locate import locate
from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.interface import GenerationJob, Row
from musicgen.engine.loading import load_engine
from musicgen.errors import EngineBusy
from musicgen.request import SamplingParams
from musicgen.settings import Settings

PROMPTS = ("slow calm piano in C minor", "fast high bells", "deep bass drone", "", "loud drums")
LONGEST_FRAMES, MOST_ROWS = 200, 20
SAMPLES, LEAST_INTERVAL_SECONDS = 200, 0.5
GROWTH_ALLOWED = 0.05


class Budget:
    """Requests of all clients: `requests` of them at most, until `until`, a monotonic time."""

    def __init__(self, until: float, requests: int | None = None) -> None:
        self.until, self._left, self._lock = until, requests, threading.Lock()

    def take(self) -> bool:
        """Return whether one more request may be sent, and count it."""
        with self._lock:
            if time.monotonic() >= self.until or self._left == 0:
                return False
            if self._left is not None:
                self._left -= 1
            return True


class SoakClient:
    """Client with random requests as long as there is a budget; it counts the outcomes."""

    def __init__(
        self, engine: MusicGenEngine, seed: int, budget: Budget, longest: int = LONGEST_FRAMES
    ) -> None:
        self._engine, self._budget, self._longest = engine, budget, longest
        self._rng = np.random.default_rng(seed)
        self.outcomes: Counter[str] = Counter()

    def run(self) -> Counter[str]:
        """Send requests until the end, and return the number of each outcome."""
        while self._budget.take():
            self.outcomes["asked"] += 1
            try:
                self.outcomes[self._ask()] += 1
            except EngineBusy:
                self.outcomes["refused as busy"] += 1
                time.sleep(0.5)
        return self.outcomes

    def _ask(self) -> str:
        rng = self._rng
        job, books = self._job(), self._engine.config.decoder.codebooks
        cancel_at = int(rng.integers(1, 150)) if rng.random() < 0.2 else 10**9
        pause = 0.05 if rng.random() < 0.1 else 0.0
        steps = self._engine.generate(job)
        for number in range(cancel_at):
            try:
                next(steps)
            except StopIteration as finished:
                complete = all(len(pcm) for pcm in finished.value.pcm)
                right = finished.value.codes.shape == (len(job.rows), books, job.frames)
                return "answered" if complete and right else "answered wrongly"
            if pause and number % 10 == 0:
                time.sleep(pause)
        steps.close()
        return "given up"

    def _job(self) -> GenerationJob:
        rng = self._rng
        clips = MOST_ROWS if rng.random() < 0.01 else int(rng.integers(1, 4))
        sampling = SamplingParams(
            temperature=float(rng.choice([0.0, 1.0])),
            top_k=int(rng.choice([1, 50, 250])),
            guidance=float(rng.choice([1.0, 3.0])),
        )
        prompt = str(rng.choice(PROMPTS))
        rows = tuple(Row(prompt, int(rng.integers(2**32)), sampling) for _ in range(clips))
        return GenerationJob(
            rows, int(rng.integers(4, self._longest)), stream=bool(rng.random() < 0.5)
        )


def soak(
    engine: MusicGenEngine,
    callers: int,
    seconds: float,
    *,
    requests: int | None = None,
    longest: int = LONGEST_FRAMES,
) -> tuple[Counter[str], dict[str, list[int]], bool]:
    """Return the outcomes of all requests, bytes over time, and True for an idle engine.

    The bytes are resident ones and, on a GPU, those reserved there.
    """
    budget = Budget(time.monotonic() + seconds, requests)
    memory: dict[str, list[int]] = {"resident": []}
    with ThreadPoolExecutor(callers) as pool:
        clients = [SoakClient(engine, seed, budget, longest) for seed in range(callers)]
        running = [pool.submit(client.run) for client in clients]
        while not all(client.done() for client in running):
            time.sleep(max(LEAST_INTERVAL_SECONDS, seconds / SAMPLES))
            memory["resident"].append(resident_bytes())
            if engine.device != "cpu":
                memory.setdefault("gpu", []).append(torch.cuda.memory_reserved())
        outcomes = sum((client.result() for client in running), Counter[str]())
    scheduler = engine._batch._scheduler
    return outcomes, memory, not scheduler.active_rows and not scheduler.queue_length


def measure_growth(sizes: list[int]) -> float:
    """Return the growth from the second quarter of the run to the last, as a share."""
    quarter = max(1, len(sizes) // 4)
    early = statistics.median(sizes[quarter : 2 * quarter] or sizes)
    return round(statistics.median(sizes[-quarter:]) / early - 1, 4)


def load(options: argparse.Namespace) -> MusicGenEngine:
    """Load the model, or random weights with the shapes `--random`."""
    folder, name = options.checkpoint, options.random or options.model
    if options.random is not None:
        from bench.full_size import build_full_size

        build_full_size(name, folder, device=options.device)
    settings = Settings(
        model=name,
        device=options.device,
        precision=options.precision,
        threads=options.threads,
        slots=options.callers,
    )
    engine = load_engine(folder or locate(name).folder, name, settings)
    assert isinstance(engine, MusicGenEngine)
    return engine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--callers", type=int, default=6)
    parser.add_argument("--random", help="shapes of a published model, with random weights")
    parser.add_argument("--checkpoint", type=Path, help="use or make the random weights here")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--requests", type=int, help="end after so many")
    parser.add_argument("--allow-growth", type=float, default=GROWTH_ALLOWED, help="as a share")
    parser.add_argument("--longest", type=int, default=LONGEST_FRAMES, help="frames of a clip")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    if (options.random is None) != (options.checkpoint is None):
        parser.error("--random needs --checkpoint, a folder for the weights, and the reverse")
    engine = load(options)
    started = time.monotonic()
    outcomes, memory, idle = soak(
        *(engine, options.callers, options.minutes * 60),
        requests=options.requests,
        longest=options.longest,
    )
    minutes = round((time.monotonic() - started) / 60, 2)
    engine.close()
    accounted = sum(outcomes[name] for name in ("answered", "given up", "refused as busy"))
    growth = {kind: measure_growth(sizes) for kind, sizes in memory.items()}
    result = {
        "name": "soak",
        "machine": machine(engine.device, options.threads),
        "model": options.random or options.model,
        "precision": engine.precision,
        "minutes": minutes,
        "callers": options.callers,
        "outcomes": dict(outcomes),
        "idle_at_the_end": idle,
        "threads_left": threading.active_count() - 1,
        **{f"{kind}_mb": [round(size / 1e6) for size in memory[kind]] for kind in memory},
        "growth": growth["resident"],
        **({"gpu_growth": growth["gpu"]} if "gpu" in growth else {}),
    }
    if options.save is not None:
        options.save.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))
    if accounted != outcomes["asked"] or not idle or max(growth.values()) > options.allow_growth:
        sys.exit("the soak failed: see above")


if __name__ == "__main__":
    main()
