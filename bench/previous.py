"""Run a contestant of another checkout of this project in its own process.

`start` is called by the benches for `--previous PATH`. This file is also the program of that
process: it imports `bench` and `musicgen` from PATH alone. PATH must have its native library
compiled, as this checkout has.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

PREVIOUS = "previous"


def start(
    checkout: Path, module: str, function: str, arguments: tuple[Any, ...]
) -> tuple[Connection, subprocess.Popen[bytes]]:
    """Call `function(pipe, *arguments)` of the checkout's `module`. Returns: pipe and process.

    Raises: `FileNotFoundError` for a folder without the module.
    """
    checkout = checkout.resolve()
    file = checkout / f"{module.replace('.', '/')}.py"
    if not file.exists():
        raise FileNotFoundError(f"--previous: {file} does not exist. Name a checkout's folder.")
    if not list((checkout / "musicgen/model/native").glob("_step*.so")):
        print(f"{checkout} has no compiled native library; its contestants run without.")
    here, there = Pipe()
    # -P: the folder of this file is no place to import from.
    command = [sys.executable, "-P", __file__, str(there.fileno()), module, function]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    process = subprocess.Popen(
        command, cwd=checkout, env=environment, pass_fds=[there.fileno()], stdout=sys.stderr
    )
    there.close()
    here.send(arguments)
    return here, process


def add_previous(contestants: list[str], checkout: Path | None) -> list[str]:
    """Return the contestants with the previous build after each of this engine's.

    Raises: `FileNotFoundError` for a checkout that is no folder.
    """
    if checkout is not None and not checkout.is_dir():
        raise FileNotFoundError(f"--previous: {checkout} is no folder. Name another checkout.")
    names = []
    for name in contestants:
        names.append(name)
        engine, _, form = name.partition(" ")
        if checkout is not None and engine in ("musicgen", "packed"):
            names.append(f"{PREVIOUS} {form}".strip())
        elif checkout is not None and engine == "native":
            names.append(f"{PREVIOUS} {name}")
    return list(dict.fromkeys(names))


def serve_old_codec(pipe: Connection, name: str, folder: Path, options: Any) -> None:
    """Serve `bench.codec.run_contestant` for a checkout older than that function."""
    import torch

    if name.startswith("native"):
        pipe.send("missing")
        return
    torch.set_num_threads(options.threads)
    config_module = importlib.import_module("musicgen.model.config")
    weights = importlib.import_module("musicgen.checkpoints.weights")
    config = config_module.MusicGenConfig.from_folder(folder)
    model = weights.load_model(folder, config, torch.device(options.device), torch.float32)
    decode = importlib.import_module("bench.codec").load_decoders(
        folder, model.codec, options.device
    )[name]
    pipe.send("ready")
    with torch.inference_mode():
        while (codes := pipe.recv()) is not None:
            started = time.perf_counter()
            samples = decode(torch.from_numpy(codes).to(options.device)).cpu().numpy()
            pipe.send((time.perf_counter() - started, samples))


def main() -> None:
    pipe = Connection(int(sys.argv[1]))
    checkout = Path(os.environ["PYTHONPATH"])
    package = Path(importlib.import_module("musicgen").__file__ or "")
    if not package.is_relative_to(checkout):
        raise RuntimeError(f"musicgen is imported from {package}, not from {checkout}")
    module = importlib.import_module(sys.argv[2])
    run = getattr(module, sys.argv[3], serve_old_codec)
    run(pipe, *pipe.recv())


if __name__ == "__main__":
    main()
