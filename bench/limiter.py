"""Measure what share of a clip's generation its level takes: loudness, limiter and true peak.

    python bench/limiter.py --save bench/results/limiter-epyc.json

Generates one clip of the model, the fastest of five times. It then sets its level anew by
each strategy, from its own samples and from dense drums that need more limiting. The last line is
one JSON object: milliseconds of processor time, and the share of the generation's time.
`limiter_ms` is the time of `loudness` without its measurement of the loudness.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))

import soundfile as sf

from bench.decode import machine
from musicgen.audio.loudness import measure_loudness
from musicgen.audio.normalize import normalize
from musicgen.predictor import Predictor
from musicgen.process.resources import cpu_quota
from musicgen.request import GenerationRequest
from musicgen.request.limits import NORMALIZATION_STRATEGIES
from musicgen.settings import Settings
from tests.support.dense_music import make_dense_music

PROMPT = "80s pop track with bassy drums and synth"
ROUNDS = 15
GENERATIONS = 5


def time_call(call: Callable[[], object]) -> float:
    """Return the least processor time of a call in milliseconds."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return 1000 * min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--save", type=Path, help="also write the JSON to this file")
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        settings = Settings(
            model=arguments.model, precision=arguments.precision, data_dir=Path(folder)
        )
        predictor = Predictor.load(settings)
        predictor.warm_up()
        request = GenerationRequest(
            prompt=PROMPT,
            seed=1,
            duration=arguments.seconds,
            normalization_strategy="none",
            bit_depth="float",
        )
        results = [predictor.generate(request) for _ in range(GENERATIONS)]
        result = min(results, key=lambda r: r.timings.decode + r.timings.codec)
        pcm, rate = sf.read(result.clips[0].address, dtype="float32", always_2d=True)
    generation = 1000 * (result.timings.decode + result.timings.codec)
    sounds = {"clip": pcm, "drums": make_dense_music(1, pcm.shape[1], rate, arguments.seconds)}
    figures = {}
    for name, sound in sounds.items():
        level = {
            strategy: time_call(lambda s=sound, by=strategy: normalize(s, rate, by))
            for strategy in NORMALIZATION_STRATEGIES
        }
        measured = time_call(lambda s=sound: measure_loudness(s, rate))
        figures[name] = {
            "level_ms": {key: round(value, 2) for key, value in level.items()},
            "limiter_ms": round(level["loudness"] - measured, 2),
            "limiter_share": round((level["loudness"] - measured) / generation, 5),
            "level_share": round(level["loudness"] / generation, 5),
        }
        print(name, figures[name])
    report = {
        "name": "limiter",
        "machine": machine("cpu", cpu_quota()),
        "model": result.model,
        "precision": result.precision,
        "seconds_of_audio": arguments.seconds,
        "rounds": ROUNDS,
        "generation_ms": round(generation, 1),
        "sounds": figures,
    }
    if arguments.save is not None:
        arguments.save.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
