"""Checks of the machine: GPU and driver, memory, threads, the native step. They import no torch."""

from __future__ import annotations

from collections.abc import Iterator

from handlers.doctor.finding import Finding
from handlers.doctor.plan import ServerPlan
from musicgen import catalog
from musicgen.checkpoints.folder_files import weight_files
from musicgen.checkpoints.local import find_source
from musicgen.checkpoints.locate import is_adapter
from musicgen.checkpoints.packed.format import find_packed_files
from musicgen.errors import (
    CheckpointError,
    ModelTooLarge,
    OutdatedLibrary,
    SettingsError,
    UnknownModel,
)
from musicgen.errors.counts import format_count
from musicgen.model.native.step_file import AVX2, find_step_file, name_level, read_level
from musicgen.process.gpu import GpuFacts, list_gpus, read_torch_cuda
from musicgen.process.resources import cpu_quota, free_memory
from musicgen.settings import Settings

CPU = "cpu"


def resolve_device(settings: Settings, facts: GpuFacts) -> str:
    """Return "cpu" or "cuda:N" as the worker will choose it.

    Raises: `SettingsError` for a GPU that is not there.
    """
    kind, _, number = settings.device.partition(":")
    has_cuda = bool(facts.gpus) and read_torch_cuda() is not None
    if kind == CPU or (kind == "auto" and not has_cuda):
        return CPU
    index = int(number or 0)
    if kind == "cuda" and (not has_cuda or index >= len(facts.gpus)):
        reason = facts.problem or f"The driver shows {format_count(len(facts.gpus), 'GPU')}"
        if facts.gpus and read_torch_cuda() is None:
            reason = "The installed PyTorch is built without CUDA"
        raise SettingsError(
            "MUSICGEN_DEVICE",
            "must be a GPU of this machine",
            value=settings.device,
            advice=f"{reason[0].upper()}{reason[1:]}. Use cpu or auto for the processor.",
        )
    return f"cuda:{index}"


def check_device(plan: ServerPlan) -> Iterator[Finding]:
    """Yield the device of the model, and a driver too old for it. Raises: `SettingsError`."""
    facts, built = list_gpus(), read_torch_cuda()
    device = resolve_device(plan.settings, facts)
    if device == CPU:
        why = facts.problem or "PyTorch without CUDA" if plan.settings.device != CPU else "chosen"
        yield Finding("device", "ok", f"the processor ({why})")
        return
    gpu = facts.gpus[int(device.partition(":")[2])]
    text = f"{device}, {gpu.name}, {gpu.memory / 1e9:.0f} GB"
    if built and facts.driver and facts.driver < built:
        yield Finding(
            "device",
            "error" if facts.driver[0] < built[0] else "warning",
            f"{text}: the driver knows CUDA up to {_dotted(facts.driver)}, but PyTorch is built "
            f"for {_dotted(built)}. Update the driver or choose another build of PyTorch.",
        )
    else:
        yield Finding("device", "ok", text)


def check_memory(plan: ServerPlan) -> Iterator[Finding]:
    """Compare the model's need with the free memory. Raises: `ModelTooLarge`, `SettingsError`.

    A model that cannot be read has no need: its own check names the fault.
    """
    settings = plan.settings
    facts = list_gpus()
    device = resolve_device(settings, facts)
    precision = settings.precision
    if precision == "auto":
        precision = "int8" if device == CPU else "bfloat16"
    try:
        need = _estimate_need(settings, precision)
    except (CheckpointError, UnknownModel, OSError):
        yield Finding("memory", "ok", "not known without the model")
        return
    free = _find_free(device, facts)
    if need is None or free is None:
        yield Finding("memory", "ok", "not known before the model is loaded; the load checks it")
        return
    count = plan.workers if plan.part == "all" else 1
    if need * count > free:
        workers = format_count(count, "worker")
        name = settings.model if count == 1 else f"{settings.model} in {workers}"
        raise ModelTooLarge(name, precision, device, need * count, free)
    text = f"about {need * count / 1e6:,.0f} MB needed in {precision}, {free / 1e6:,.0f} MB free"
    yield Finding("memory", "ok", f"{text} on {device}")


def check_threads(plan: ServerPlan) -> Iterator[Finding]:
    """Compare MUSICGEN_THREADS with the processors of this container."""
    quota, threads = cpu_quota(), plan.settings.threads
    count = plan.workers if plan.part == "all" else 1
    used = (threads or quota) * count
    if used > quota:
        yield Finding(
            "threads",
            "warning",
            f"{format_count(used, 'thread')} in {format_count(count, 'worker')} on "
            f"{format_count(quota, 'processor')}: decoding becomes several times slower. Lower "
            "MUSICGEN_THREADS or the number of workers.",
        )
    else:
        yield Finding("threads", "ok", f"{used} of {format_count(quota, 'processor')}")


def check_native_step(plan: ServerPlan) -> Iterator[Finding]:
    """Yield the instruction set of the native step, or the reason for its absence."""
    facts = list_gpus()
    if resolve_device(plan.settings, facts) != CPU:
        yield Finding("native step", "ok", "not needed on a GPU")
        return
    path, slow = find_step_file(), "decoding is 2 to 4 times slower"
    if path is None:
        text = f"not compiled: {slow}. Run `pip install -e .` with a C++ compiler on x86-64 or Arm."
        yield Finding("native step", "warning", text)
        return
    try:
        level = read_level(path)
    except OSError as error:
        text = f"{path.name} does not load ({error}): {slow}. Compile it on this system."
        yield Finding("native step", "warning", text)
        return
    except OutdatedLibrary as error:
        yield Finding("native step", "error", str(error))
        return
    if level < AVX2:
        text = f"this processor has {name_level(0)}: {slow}. Use a newer processor."
        yield Finding("native step", "warning", text)
    else:
        yield Finding("native step", "ok", name_level(level))


def _estimate_need(settings: Settings, precision: str) -> int | None:
    """Return the bytes for weights and one clip; of an unknown model the size of its files."""
    entry = catalog.find(settings.model)
    if entry is not None and entry.memory:
        return entry.memory.get(precision)
    source = find_source(settings.model, settings, settings.revision)
    if source is None or is_adapter(source.folder):
        return None
    if source.folder.is_file():
        return source.folder.stat().st_size
    files = find_packed_files(source.folder)
    if files:
        return min(file.stat().st_size for file in files)
    return sum(file.stat().st_size for file in weight_files(source.folder))


def _find_free(device: str, facts: GpuFacts) -> int | None:
    if device == CPU:
        return free_memory(CPU)
    return facts.gpus[int(device.partition(":")[2])].memory


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
