"""Compare cold starts: from the start of a process to the first sound, with the phases between.

    python bench/gpu_cold_start.py --device cuda:0 --model musicgen-large

Every start is a new process. "packed" is this engine from a packed file, as a worker loads it;
"musicgen" reads the checkpoint; "transformers" is its documented way. Phases are seconds since the
process's start: `imported` (PyTorch or transformers), `device` (the GPU answers), `loaded` (weights
on the device), `ready` (the engine takes calls), `first_sound` (the first samples of a clip of
--seconds; transformers has no stream, so its clip is complete), `clip` (the whole clip), and
`second_first_sound` (of a second call, from that call on). The page cache holds the files after one
start that does not count. Ratios are transformers' time over this engine's. The last line is one
JSON object, saved after each start.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: the repository root is not on the path
    sys.path.insert(0, str(ROOT))

CONTESTANTS = ("packed", "musicgen", "transformers")
TIMED = ("ready", "first_sound", "clip")


def start_ours(path: Path, device: str, precision: str, seconds: float) -> Any:
    """Load this engine and make two clips. Returns: seconds of phases."""
    from musicgen.process.startup import process_age

    phases = {}
    import torch

    phases["imported"] = process_age()
    if device != "cpu":
        torch.zeros(1, device=device)
        torch.cuda.synchronize()
    phases["device"] = process_age()
    from musicgen.engine.interface import GenerationJob, Row
    from musicgen.engine.loading import load_engine
    from musicgen.request import SamplingParams
    from musicgen.settings import Settings

    settings = Settings(device=device, precision=precision)
    loaded = load_engine(
        path, path.name, settings, on_phase=lambda name: phases.update({name: process_age()})
    )
    phases["ready"] = process_age()
    frames = round(seconds * loaded.config.frame_rate)
    row = Row("80s pop track with bassy drums and synth", 0, SamplingParams(1.0, 250, 0.0, 3.0))
    for prefix in ("", "second_"):
        called = time.perf_counter()
        first = 0.0
        for progress in loaded.generate(GenerationJob((row,), frames, stream=True)):
            if not first and any(len(pcm) for pcm in progress.pcm):
                first = time.perf_counter() - called
                phases.setdefault("first_sound", process_age())
        phases.setdefault("clip", process_age())
        phases[f"{prefix}call_to_first_sound"] = first
        phases[f"{prefix}call_to_clip"] = time.perf_counter() - called
    return phases


def start_transformers(path: Path, device: str, precision: str, seconds: float) -> Any:
    """Load transformers and make two clips. Returns: seconds of phases."""
    from musicgen.process.startup import process_age

    phases = {}
    import torch
    from transformers import AutoTokenizer, MusicgenForConditionalGeneration

    phases["imported"] = process_age()
    dtype = getattr(torch, precision)
    model = MusicgenForConditionalGeneration.from_pretrained(path, dtype=dtype).to(device).eval()
    tokenizer = AutoTokenizer.from_pretrained(path)
    phases["ready"] = process_age()
    steps = round(seconds * model.config.audio_encoder.frame_rate)
    for prefix in ("", "second_"):
        called = time.perf_counter()
        inputs = tokenizer(["80s pop track with bassy drums and synth"], return_tensors="pt")
        audio = model.generate(
            **inputs.to(device),
            do_sample=True,
            top_k=250,
            guidance_scale=3.0,
            max_new_tokens=steps + model.config.decoder.num_codebooks - 1,
        )
        audio.float().cpu()
        phases.setdefault("first_sound", process_age())
        phases.setdefault("clip", process_age())
        phases[f"{prefix}call_to_first_sound"] = time.perf_counter() - called
        phases[f"{prefix}call_to_clip"] = phases[f"{prefix}call_to_first_sound"]
    return phases


def start_process(name: str, path: Path, options: argparse.Namespace) -> dict[str, float]:
    """Start a contestant in a new process. Returns: its phases, or raises `RuntimeError`."""
    command = [sys.executable, __file__, "--device", options.device, "--start", name, str(path)]
    command += ["--precision", options.precision, "--seconds", str(options.seconds)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *_list_pythonpath()])}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if run.returncode != 0:
        raise RuntimeError(run.stderr.strip()[-300:])
    phases: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return {phase: round(seconds, 3) for phase, seconds in phases.items()}


def _list_pythonpath() -> list[str]:
    return [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return all starts, their medians and ratios; saved after each start."""
    from bench.decode import machine
    from musicgen.process.resources import cpu_quota

    paths = {"musicgen": folder, "transformers": folder, "packed": folder}
    if "packed" in options.contestants:
        paths["packed"] = pack_checkpoint(options, folder)
    starts: dict[str, list[Any]] = {name: [] for name in options.contestants}
    report: dict[str, Any] = {
        "name": "gpu_cold_start",
        "machine": machine(options.device, cpu_quota()),
        "model": options.model,
        "precision": options.precision,
        "seconds_of_audio": options.seconds,
        "starts": starts,
    }
    for number in range(options.rounds + 1):
        for name in options.contestants:
            try:
                phases: dict[str, Any] = dict(start_process(name, paths[name], options))
            except RuntimeError as error:  # the other contestants must still be measured
                phases = {"error": str(error)}
            print(f"start {number} {name}: {json.dumps(phases)}", flush=True)
            if number > 0 or "error" in phases:
                starts[name].append(phases)
            report.update(summarise(starts))
            if options.save is not None:
                options.save.write_text(json.dumps(report, indent=1) + "\n")
    return report


def pack_checkpoint(options: argparse.Namespace, folder: Path) -> Path:
    """Write the packed file for the device, unless it is there."""
    from musicgen.checkpoints.locate import locate
    from musicgen.checkpoints.pack import pack
    from musicgen.model.native.step_file import has_native_step

    kind = "native" if options.device == "cpu" and has_native_step() else "plain"
    target = folder.with_name(f"{folder.name}.{kind}-{options.precision}.packed")
    if not target.exists():
        pack(locate(str(folder)), f"{kind}-{options.precision}", target)
    return target


def summarise(starts: dict[str, list[Any]]) -> dict[str, Any]:
    """Return the medians of complete starts and the ratios against transformers."""
    medians = {}
    for name, all_phases in starts.items():
        complete = [phases for phases in all_phases if "error" not in phases]
        if complete:
            keys = complete[0]
            medians[name] = {
                key: round(statistics.median(phases[key] for phases in complete), 3) for key in keys
            }
    peer = medians.get("transformers", {})
    ratios = {
        f"{key}, {name} over transformers": round(peer[key] / figures[key], 3)
        for name, figures in medians.items()
        if name != "transformers" and peer
        for key in TIMED
    }
    return {"medians": medians, "ratios": ratios}


def main() -> None:
    # Not at the top: a script first needs the repository root on its path.
    from bench.gpu_options import build_parser, open_checkpoint

    parser = build_parser(__doc__)
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=CONTESTANTS)
    parser.add_argument("--start", nargs=2, metavar=("CONTESTANT", "PATH"), help="used by itself")
    options = parser.parse_args()
    if options.start is not None:
        name, path = options.start
        settings = (Path(path), options.device, options.precision, options.seconds)
        phases = start_transformers(*settings) if name == "transformers" else None
        print(json.dumps(phases or start_ours(*settings)))
        return
    with open_checkpoint(options) as folder:
        print(json.dumps(measure(options, folder)))


if __name__ == "__main__":
    main()
