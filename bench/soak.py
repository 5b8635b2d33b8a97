"""Run random load on one engine for half an hour; check every reply and the growth of memory.

    python bench/soak.py --minutes 30                    # the demo, six callers
    python bench/soak.py --model FOLDER --device cuda --callers 32

Each client sends random requests in a loop: one to three clips of up to four seconds, with and
without guidance, whole or streamed. Some are larger than the whole batch, some are read slowly, and
some are cancelled in the middle. At the end no row may be in use and no job may wait. Fails if a
request is neither answered nor cancelled, or if memory grows from the second quarter of the run to
the last by more than a twentieth. The last line is one JSON object.
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
SAMPLES = 200
GROWTH_ALLOWED = 0.05


class SoakClient:
    """Client with random requests until `until`, a monotonic time; it counts the outcomes."""

    def __init__(self, engine: MusicGenEngine, seed: int, until: float) -> None:
        self._engine, self._until = engine, until
        self._rng = np.random.default_rng(seed)
        self.outcomes: Counter[str] = Counter()

    def run(self) -> Counter[str]:
        """Send requests until the end, and return the number of each outcome."""
        while time.monotonic() < self._until:
            self.outcomes["asked"] += 1
            try:
                self.outcomes[self._ask()] += 1
            except EngineBusy:
                self.outcomes["refused as busy"] += 1
                time.sleep(0.5)
        return self.outcomes

    def _ask(self) -> str:
        rng = self._rng
        job = self._job()
        cancel_at = int(rng.integers(1, 150)) if rng.random() < 0.2 else 10**9
        pause = 0.05 if rng.random() < 0.1 else 0.0
        steps = self._engine.generate(job)
        for number in range(cancel_at):
            try:
                next(steps)
            except StopIteration as finished:
                complete = all(len(pcm) for pcm in finished.value.pcm)
                right = finished.value.codes.shape == (len(job.rows), 4, job.frames)
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
            rows, int(rng.integers(4, LONGEST_FRAMES)), stream=bool(rng.random() < 0.5)
        )


def soak(
    engine: MusicGenEngine, callers: int, seconds: float
) -> tuple[Counter[str], list[int], bool]:
    """Return the outcomes of all requests, the memory over time, and True for an idle engine."""
    until = time.monotonic() + seconds
    memory: list[int] = []
    with ThreadPoolExecutor(callers) as pool:
        running = [pool.submit(SoakClient(engine, seed, until).run) for seed in range(callers)]
        while time.monotonic() < until:
            time.sleep(seconds / SAMPLES)
            memory.append(resident_bytes())
        outcomes = sum((client.result() for client in running), Counter[str]())
    scheduler = engine._batch._scheduler
    return outcomes, memory, not scheduler.active_rows and not scheduler.queue_length


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--callers", type=int, default=6)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    settings = Settings(
        model=options.model,
        device=options.device,
        precision=options.precision,
        threads=options.threads,
    )
    engine = load_engine(locate(options.model).folder, options.model, settings)
    assert isinstance(engine, MusicGenEngine)
    outcomes, memory, idle = soak(engine, options.callers, options.minutes * 60)
    engine.close()
    quarter = len(memory) // 4
    early = statistics.median(memory[quarter : 2 * quarter])
    late = statistics.median(memory[-quarter:])
    accounted = sum(outcomes[name] for name in ("answered", "given up", "refused as busy"))
    result = {
        "name": "soak",
        "machine": machine(engine.device, options.threads),
        "model": options.model,
        "precision": engine.precision,
        "minutes": options.minutes,
        "callers": options.callers,
        "outcomes": dict(outcomes),
        "idle_at_the_end": idle,
        "threads_left": threading.active_count() - 1,
        "resident_mb": [round(size / 1e6) for size in memory],
        "growth": round(late / early - 1, 4),
    }
    if options.save is not None:
        options.save.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))
    if accounted != outcomes["asked"] or not idle or late > early * (1 + GROWTH_ALLOWED):
        sys.exit("the soak failed: see above")


if __name__ == "__main__":
    main()
