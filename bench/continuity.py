"""Measure how a long clip keeps its key, tempo, sound and level, by stride and temperature.

    python bench/continuity.py                     # the demo: 60 and 300 s, all conditions
    python bench/continuity.py --model FOLDER --seconds 120 --strides 12 18 --temperatures 1

A long clip is made in windows, each of which begins with the end of the one before (`extend_stride`
in docs/requests.md). The prompts name instrument, key, tempo and drums. Every clip is cut into
parts of one window's length. The first part is compared with the parts of the last third:

- scale: share of the pitch-class energy on the seven tones of the key named in the prompt,
- tempo: octaves between the rates of note onsets,
- timbre: octaves between the spectral centroids,
- level: decibels between the levels,
- seam: change of the spectrum from the half second before a border of windows to the half second
  after it, over the same change in the middle between two borders; 1 is a border that nobody hears,
- silent: clips with two seconds or more of silence.

"steps": decoder rows computed per new frame; a smaller stride computes more. All conditions have
the same prompts and seeds. The figures are means over the clips with their standard error. The last
line is one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: the repository root is not on the path
    sys.path.insert(0, str(ROOT))

import numpy as np
from numpy.typing import NDArray

from musicgen.checkpoints.locate import locate
from musicgen.engine.interface import Engine, GenerationJob, Row, run_to_end
from musicgen.engine.loading import load_engine
from musicgen.engine.windows import Window, compute_stride_frames, plan_windows
from musicgen.evaluation.measures import (
    SCALES,
    Sound,
    level,
    longest_silence,
    onset_rate,
    pitch_classes,
    spectral_centroid,
)
from musicgen.evaluation.pairs import INSTRUMENTS, KEYS
from musicgen.process.resources import cpu_quota
from musicgen.process.threads import use_threads
from musicgen.request import SamplingParams
from musicgen.request.limits import STRIDE_DEFAULT_SECONDS
from musicgen.settings import Settings

ROWS_AT_ONCE = 8
SILENT_SECONDS = 2.0
SEAM_SECONDS = 0.5
SILENCE_DB = -80.0
LEAST_HZ, LEAST_ONSETS = 20.0, 0.1
"""Floors of a silent part's measures, so that their logarithms exist."""


@dataclass(frozen=True)
class Prompt:
    """Prompt and its key: `tonic` from 0 (C) to 11, `mode` major or minor."""

    text: str
    tonic: int
    mode: str


@dataclass(frozen=True)
class Condition:
    """One way to make all clips: seconds of each, stride of a 30 s window, temperature."""

    seconds: float
    stride: float
    temperature: float

    @property
    def label(self) -> str:
        """Name in the tables."""
        return f"{self.seconds:g} s, stride {self.stride:g}, temperature {self.temperature:g}"


def build_prompts(count: int) -> list[Prompt]:
    """Return `count` prompts over instruments, modes and tempos, with and without drums."""
    words = itertools.product(("", " with drums"), ("slow", "fast"), ("major", "minor"))
    contexts = [(words_, instrument) for words_ in words for instrument in INSTRUMENTS]
    prompts = []
    for index in range(count):
        (drums, tempo, mode), instrument = contexts[index * 7 % len(contexts)]
        tonic = index * 5 % 12
        text = f"{tempo} {instrument} melody in {KEYS[tonic]} {mode}{drums}"
        prompts.append(Prompt(text, tonic, mode))
    return prompts


def make_clips(engine: Engine, prompts: Sequence[Prompt], condition: Condition) -> Iterator[Sound]:
    """Yield one mono clip for each prompt; clip i has the seed i."""
    sampling = SamplingParams(temperature=condition.temperature)
    frames = round(condition.seconds * engine.config.frame_rate)
    rows = [Row(prompt.text, seed, sampling) for seed, prompt in enumerate(prompts)]
    for start in range(0, len(rows), ROWS_AT_ONCE):
        together = tuple(rows[start : start + ROWS_AT_ONCE])
        job = GenerationJob(together, frames, stride_seconds=condition.stride)
        for pcm in run_to_end(engine.generate(job)).pcm:
            yield pcm.mean(axis=1, dtype=np.float32)


def measure_clip(
    sound: Sound, rate: int, prompt: Prompt, part: int, borders: Sequence[int]
) -> dict[str, float]:
    """Measure one clip. `part`: samples of a window. `borders`: first samples of later windows."""
    parts = [sound[at : at + part] for at in range(0, len(sound) - part + 1, part)]
    measures = [measure_part(piece, rate, prompt) for piece in parts]
    last = measures[-max(1, len(measures) // 3) :]
    first = measures[0]
    drift = {
        name: float(np.mean([abs(later[name] - first[name]) for later in last]))
        for name in ("tempo", "timbre", "level")
    }
    return {
        "scale_first": first["scale"],
        "scale_last": float(np.mean([later["scale"] for later in last])),
        **drift,
        "seam": measure_seams(sound, rate, borders),
        "silent": float(longest_silence(sound, rate) >= SILENT_SECONDS),
    }


def measure_part(sound: Sound, rate: int, prompt: Prompt) -> dict[str, float]:
    """Measure one part of a clip; tempo and timbre are logarithms of base 2."""
    scale = [(prompt.tonic + step) % 12 for step in SCALES[prompt.mode]]
    return {
        "scale": float(pitch_classes(sound, rate)[scale].sum()),
        "tempo": float(np.log2(max(LEAST_ONSETS, onset_rate(sound, rate)))),
        "timbre": float(np.log2(max(LEAST_HZ, spectral_centroid(sound, rate)))),
        "level": max(SILENCE_DB, level(sound)),
    }


def measure_seams(sound: Sound, rate: int, borders: Sequence[int]) -> float:
    """Return the change over the borders of windows over the change between them; nan for none."""
    near = round(SEAM_SECONDS * rate)
    middles = [(a + b) // 2 for a, b in itertools.pairwise((0, *borders))]
    at_borders = [_change(sound, border, near) for border in borders if border + near <= len(sound)]
    between = [_change(sound, middle, near) for middle in middles if middle >= near]
    if not at_borders or not between:
        return float("nan")
    return float(np.mean(at_borders) / np.mean(between))


def _change(sound: Sound, at: int, near: int) -> float:
    before, after = _bands(sound[at - near : at]), _bands(sound[at : at + near])
    return float(np.abs(after - before).mean())


def _bands(sound: Sound) -> NDArray[np.float64]:
    """Return the levels of forty bands in dB."""
    power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
    edges = np.unique(np.geomspace(20, len(power) - 1, 41).astype(int))
    return 10 * np.log10(np.add.reduceat(power, edges[:-1]) / len(sound) + 1e-8)


def measure_condition(
    engine: Engine, prompts: Sequence[Prompt], condition: Condition
) -> dict[str, float]:
    """Return the means over all clips of a condition, and their standard errors as NAME_error."""
    config = engine.config
    frames = round(condition.seconds * config.frame_rate)
    stride = compute_stride_frames(condition.stride, config.window_frames)
    windows = plan_windows((frames,), 0, config.window_frames, stride)
    samples = config.sample_rate / config.frame_rate
    borders = [round((window.start + window.context) * samples) for window in windows[1:]]
    part = round(config.window_frames * samples)
    clips = [
        measure_clip(sound, config.sample_rate, prompt, part, borders)
        for prompt, sound in zip(prompts, make_clips(engine, prompts, condition), strict=True)
    ]
    result: dict[str, float] = {"steps": count_rows(windows) / frames}
    for name in clips[0]:
        values = np.array([clip[name] for clip in clips])
        result[name] = round(float(np.nanmean(values)), 4)
        result[f"{name}_error"] = round(float(np.nanstd(values) / np.sqrt(len(values))), 4)
    return result


def count_rows(windows: Sequence[Window]) -> int:
    """Return the frames computed in all windows, the repeated context included."""
    return sum(window.length for window in windows)


def list_conditions(options: argparse.Namespace) -> list[Condition]:
    """List each stride at the first temperature, and each temperature at the default stride."""
    conditions = []
    for seconds in options.seconds:
        first = options.temperatures[0]
        conditions += [Condition(seconds, stride, first) for stride in options.strides]
        conditions += [
            Condition(seconds, options.default_stride, temperature)
            for temperature in options.temperatures[1:]
        ]
    return conditions


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--seconds", type=float, nargs="+", default=[60.0, 300.0])
    parser.add_argument("--strides", type=float, nargs="+", default=[6.0, 12.0, 18.0, 24.0, 28.0])
    parser.add_argument("--default-stride", type=float, default=STRIDE_DEFAULT_SECONDS)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1.0, 0.8, 0.9, 1.1])
    parser.add_argument("--save", type=Path)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every condition and print a table and one JSON line."""
    options = parse(arguments)
    settings = Settings(model=options.model, precision=options.precision)
    use_threads(cpu_quota())
    source = locate(settings.model, settings.revision)
    engine = load_engine(source.folder, source.name, settings)
    prompts = build_prompts(options.prompts)
    results = {}
    for condition in list_conditions(options):
        results[condition.label] = result = measure_condition(engine, prompts, condition)
        shown = " ".join(f"{name} {value:.3f}" for name, value in result.items())
        print(f"{condition.label}: {shown}", file=sys.stderr, flush=True)
    engine.close()
    report = {
        "name": "continuity",
        "model": source.label,
        "prompts": options.prompts,
        "conditions": results,
    }
    if options.save:
        options.save.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
