"""Engines with the PyTorch backend, from a checkpoint or a packed file."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from musicgen.checkpoints.packed.layouts import load_packed
from musicgen.checkpoints.packed.reader import PackFile
from musicgen.checkpoints.weights import load_model
from musicgen.engine.engine import BATCH_ROWS, MAX_WAITING, MusicGenEngine
from musicgen.engine.pytorch.backend import TorchBackend
from musicgen.engine.pytorch.cuda.graphs import StepRunner
from musicgen.engine.pytorch.cuda.kernels.options import KernelOptions
from musicgen.engine.pytorch.cuda.launch import NO_GRAPHS, LaunchOptions
from musicgen.engine.pytorch.cuda.memory import choose_runner
from musicgen.model.config import MusicGenConfig
from musicgen.model.kernels import choose_packing
from musicgen.model.musicgen import MusicGen
from musicgen.model.tokenizer import Tokenize, build_tokenizer, load_tokenizer
from musicgen.process.resources import return_free_memory

logger = logging.getLogger(__name__)


def load_checkpoint(
    folder: Path,
    config: MusicGenConfig,
    device: str,
    precision: str,
    *,
    rows: int = BATCH_ROWS,
    compiled: bool = True,
    torch_compile: bool = False,
    kernels: KernelOptions | None = None,
    launch: LaunchOptions = NO_GRAPHS,
    adapter: Path | None = None,
) -> MusicGenEngine:
    """Load a checkpoint folder and optionally merge an `adapter` folder into it.

    `rows`: limit of decoder rows in one batch. `compiled=False` avoids this project's own C++.
    `torch_compile=True` lets torch.compile fuse the operations between matrix products on a GPU.
    `kernels` runs steps with Triton kernels there; `launch` is of the work beside the steps.

    Raises: a subclass of `CheckpointError`.
    """
    tokenize = load_tokenizer(folder)
    pack = choose_packing(precision, compiled=compiled) if device == "cpu" else None
    dtype = torch.bfloat16 if precision == "bfloat16" and pack is None else torch.float32
    model = load_model(folder, config, torch.device(device), dtype, pack=pack, adapter=adapter)
    return_free_memory()
    return _build_for_device(model, tokenize, precision, rows, torch_compile, kernels, launch)


def load_packed_file(
    pack: PackFile,
    config: MusicGenConfig,
    device: str,
    precision: str,
    *,
    rows: int = BATCH_ROWS,
    torch_compile: bool = False,
    kernels: KernelOptions | None = None,
    launch: LaunchOptions = NO_GRAPHS,
) -> MusicGenEngine:
    """Load a packed file of a plain form suitable for `device` and `precision`.

    Raises: a subclass of `CheckpointError`.
    """
    tokenize = build_tokenizer(pack.read, pack.path)
    dtype = torch.bfloat16 if precision == "bfloat16" and device != "cpu" else torch.float32
    model = load_packed(pack, config, torch.device(device), dtype)
    repack = choose_packing(precision) if device == "cpu" else None
    if repack is not None:
        repack(model)
    return _build_for_device(model, tokenize, precision, rows, torch_compile, kernels, launch)


def build_engine(
    model: MusicGen,
    tokenize: Tokenize,
    precision: str,
    *,
    rows: int = BATCH_ROWS,
    max_waiting: int = MAX_WAITING,
    runner: StepRunner | None = None,
    launch: LaunchOptions = NO_GRAPHS,
) -> MusicGenEngine:
    """Build an engine of a loaded model; without a `runner`, each job keeps its own KV cache."""
    backend = TorchBackend(model, tokenize, precision, runner, launch)
    return MusicGenEngine(backend, rows=rows, max_waiting=max_waiting)


def use_exact_float32() -> None:
    """Turn TF32 off, which rounds the inputs of float32 products on a GPU to ten bits.

    cuDNN uses it by default, and only the codec calls cuDNN here. Rounded codes of a sound would
    differ from the processor's, and pieces of a stream from the whole clip. The codec is a small
    part of a clip's time.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def join_recurrent_weights(model: MusicGen) -> None:
    """Join the weights of each LSTM in one block of memory, as cuDNN reads them.

    It would copy weights that were loaded one by one into a block at every call, with a warning.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.LSTM):
            module.flatten_parameters()


def _build_for_device(
    model: MusicGen,
    tokenize: Tokenize,
    precision: str,
    rows: int,
    torch_compile: bool,
    kernels: KernelOptions | None,
    launch: LaunchOptions,
) -> MusicGenEngine:
    if model.device.type == "cuda":
        use_exact_float32()
        join_recurrent_weights(model)
    elif launch:
        logger.warning("MUSICGEN_GRAPHS and MUSICGEN_CODEC_STREAM have no effect on a CPU.")
        launch = NO_GRAPHS
    runner, rows = choose_runner(
        model, str(model.device), rows, torch_compile=torch_compile, kernels=kernels
    )
    return build_engine(model, tokenize, precision, rows=rows, runner=runner, launch=launch)
