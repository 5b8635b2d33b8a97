"""Choice of device, precision and engine for a checkpoint, with a check of the free memory.

This module imports no torch: a packed native file runs on a processor without it. Everything else
imports torch when it is loaded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from musicgen.checkpoints.packed.format import NATIVE, precision_of
from musicgen.checkpoints.packed.reader import PackFile
from musicgen.checkpoints.packed.select import config_of, open_packed
from musicgen.engine.interface import Engine
from musicgen.errors import ModelTooLarge, SettingsError, UnsupportedCheckpoint
from musicgen.errors.counts import format_count
from musicgen.model.config import MusicGenConfig
from musicgen.model.memory import estimate_memory
from musicgen.model.native.step_file import describe_step, has_native_step
from musicgen.process.gpu import count_usable_gpus
from musicgen.process.lazy_torch import import_torch
from musicgen.process.resources import free_memory
from musicgen.settings import Settings

if TYPE_CHECKING:
    from musicgen.engine.pytorch.cuda.kernels.options import KernelOptions
    from musicgen.engine.pytorch.cuda.launch import LaunchOptions

# A guided clip needs two rows; one request may have eight variations.
ROWS_PER_SLOT, MIN_ROWS = 2, 16

logger = logging.getLogger(__name__)


def load_engine(
    folder: Path,
    name: str,
    settings: Settings,
    adapter: Path | None = None,
    on_phase: Callable[[str], None] = lambda phase: None,
    *,
    fall_back: bool = True,
) -> Engine:
    """Load the checkpoint or packed file in `folder` with the engine chosen by `settings`.

    `adapter`: folder of an adapter to merge. `on_phase` is called with the name of each start
    phase as it ends. A checkpoint unsupported by the engine musicgen falls back to transformers,
    with a warning; without `fall_back` it is refused.

    Raises: `SettingsError`, `ModelTooLarge`, `MissingDependency`, a subclass of `CheckpointError`.
    """
    device = resolve_device(settings.device)
    pack = _open_pack(folder, device, settings, adapter)
    if pack is not None:
        return _load_packed(pack, name, device, settings, on_phase)
    config = MusicGenConfig.from_folder(folder)
    if settings.engine == "musicgen":
        try:
            return _load_checkpoint(folder, config, name, device, settings, adapter)
        except UnsupportedCheckpoint as error:
            if not fall_back:
                raise
            logger.warning("Falling back to engine=transformers, which is slower: %s", error)
    import_torch()
    from musicgen.engine.transformers_engine import TransformersEngine

    precision = resolve_precision(settings.precision, device, quantized=False)
    check_memory(config, name, device, precision)
    return TransformersEngine.load(folder, config, device, precision, adapter)


def _open_pack(
    folder: Path, device: str, settings: Settings, adapter: Path | None
) -> PackFile | None:
    """Open the packed file at `folder`, or return None for a checkpoint's folder."""
    if settings.engine != "musicgen":
        if folder.is_file():
            problem = "must be musicgen for a packed file"
            raise SettingsError("MUSICGEN_ENGINE", problem, value=settings.engine)
        return None
    pack = open_packed(folder, device, settings.precision, settings.revision)
    if pack is not None and adapter is not None:
        raise UnsupportedCheckpoint(
            f"{folder} is a packed file and cannot take an adapter. Use the adapter with the "
            "checkpoint folder."
        )
    return pack


def _load_checkpoint(
    folder: Path,
    config: MusicGenConfig,
    name: str,
    device: str,
    settings: Settings,
    adapter: Path | None,
) -> Engine:
    """Load a checkpoint's folder in PyTorch. Raises: `UnsupportedCheckpoint` and others."""
    precision = resolve_precision(settings.precision, device)
    check_memory(config, name, device, precision)
    _log_kernels("checkpoint", device)
    import_torch()
    from musicgen.engine.pytorch.loading import load_checkpoint

    return load_checkpoint(
        folder,
        config,
        device,
        precision,
        rows=_count_rows(settings.slots),
        torch_compile=settings.compile,
        kernels=_read_kernel_options(settings),
        launch=_read_launch_options(settings),
        adapter=adapter,
    )


def _load_packed(
    pack: PackFile, name: str, device: str, settings: Settings, on_phase: Callable[[str], None]
) -> Engine:
    """Load a packed file after a check that also reads all of it into memory."""
    config, form = config_of(pack), pack.manifest.form
    precision = settings.precision
    if precision == "auto" and form.startswith(NATIVE):
        precision = precision_of(form)
    precision = resolve_precision(precision, device)
    check_memory(config, name, device, precision)
    pack.check()
    _log_kernels(form, device)
    on_phase("weights_resident")
    rows = _count_rows(settings.slots)
    if form.startswith(NATIVE):
        from musicgen.engine.native.loading import load_native

        if settings.compile:
            logger.warning("MUSICGEN_COMPILE has no effect on a CPU.")
        if settings.kernels:
            logger.warning("MUSICGEN_KERNELS has no effect on a CPU.")
        return load_native(pack, config, precision, rows=rows)
    import_torch()
    from musicgen.engine.pytorch.loading import load_packed_file

    return load_packed_file(
        pack,
        config,
        device,
        precision,
        rows=rows,
        torch_compile=settings.compile,
        kernels=_read_kernel_options(settings),
        launch=_read_launch_options(settings),
    )


def _read_kernel_options(settings: Settings) -> KernelOptions | None:
    """Return the options of the step kernels, or None without them."""
    from musicgen.engine.pytorch.cuda.kernels.options import KernelOptions

    if not settings.kernels:
        return None
    weights = "" if settings.kernel_weights == "own" else settings.kernel_weights
    cache = "" if settings.kv_cache == "own" else settings.kv_cache
    return KernelOptions(weights, settings.kernel_overlap, cache)


def _read_launch_options(settings: Settings) -> LaunchOptions:
    """Return the options of the launches beside the steps."""
    from musicgen.engine.pytorch.cuda.launch import LaunchOptions

    everything = settings.graphs == "all"
    return LaunchOptions(everything, everything, settings.codec_stream)


def _log_kernels(form: str, device: str) -> None:
    step = describe_step() if device == "cpu" else "unused on a GPU"
    logger.info("weights of the form %s; native step: %s", form, step)


def _count_rows(slots: int) -> int:
    return max(MIN_ROWS, ROWS_PER_SLOT * slots)


def resolve_device(device: str) -> str:
    """Resolve "auto" to the first GPU, or to the CPU if there is none.

    Raises: `SettingsError` for a missing GPU.
    """
    if device == "cpu" or (device == "auto" and count_usable_gpus() == 0):
        return "cpu"
    import_torch()
    import torch

    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        device = "cuda:0"
    if int(device.partition(":")[2]) >= torch.cuda.device_count():
        raise SettingsError(
            "MUSICGEN_DEVICE",
            "must be a GPU of this machine",
            value=device,
            advice=f"PyTorch sees {format_count(torch.cuda.device_count(), 'GPU')}.",
        )
    return device


def resolve_precision(precision: str, device: str, *, quantized: bool = True) -> str:
    """Resolve "auto": bfloat16 on a GPU; on a CPU int8, or float32 without int8 kernels.

    `quantized=False` excludes int8 from "auto". docs/precision.md has the measured cost of int8.

    Raises: `SettingsError` for int8 or int4 without kernels for it.
    """
    if precision == "int4":
        _check_int4(device)
    has_int8 = device == "cpu" and has_int8_kernels()
    if precision == "int8" and not has_int8:
        reason = "int8 runs on CPUs only" if device != "cpu" else "this PyTorch has no int8 kernels"
        problem = f"cannot be int8: {reason}"
        raise SettingsError("MUSICGEN_PRECISION", problem, advice="Use bfloat16 or auto.")
    if precision != "auto":
        return precision
    if device != "cpu":
        return "bfloat16"
    return "int8" if has_int8 and quantized else "float32"


def _check_int4(device: str) -> None:
    if device == "cpu" and has_native_step():
        return
    reason = (
        "int4 runs on CPUs only"
        if device != "cpu"
        else f"it needs the native step, which is {describe_step()}"
    )
    problem = f"cannot be int4: {reason}"
    raise SettingsError("MUSICGEN_PRECISION", problem, advice="Use bfloat16 or auto.")


def has_int8_kernels() -> bool:
    """Whether this processor multiplies 8-bit numbers: by the native step, or else by PyTorch."""
    if has_native_step():
        return True
    if find_spec("torch") is None:
        return False
    import_torch()
    from musicgen.model.fbgemm import can_pack

    return can_pack()


def check_memory(config: MusicGenConfig, name: str, device: str, precision: str) -> None:
    """Check that one clip of a full window fits into memory beside the weights.

    Raises: `ModelTooLarge`.
    """
    needed = estimate_memory(config, precision)
    free = free_memory(device)
    if free is not None and needed > free:
        raise ModelTooLarge(name, precision, device, needed, free)
