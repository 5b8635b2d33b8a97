"""Number of rows that fit into a GPU's memory, planned before the first request."""

from __future__ import annotations

import logging
import math

from musicgen.engine.pytorch.cuda.fused import FusedLayers
from musicgen.engine.pytorch.cuda.graphs import EagerRunner, SlotRunner, StepRunner
from musicgen.engine.pytorch.cuda.kernels.choice import load_kernels
from musicgen.engine.pytorch.cuda.kernels.options import KernelOptions
from musicgen.engine.pytorch.cuda.slots import RowSlots
from musicgen.errors.counts import format_count
from musicgen.model.delay_pattern import DelayPattern
from musicgen.model.memory import estimate_codec_memory
from musicgen.model.musicgen import MusicGen
from musicgen.process.resources import free_memory
from musicgen.request.limits import DURATION_MAX_SECONDS

ALIGNMENT = 16
"""Attention kernels copy a mask with rows of another length, at each layer of each step."""
PROMPT_TOKENS = 128
"""Prompt capacity of a slot, four times a usual prompt. A longer prompt is decoded eagerly."""
RESERVED_FRACTION = 0.1
"""Share of the free memory kept for prefills and for fragmentation of PyTorch's allocator."""

logger = logging.getLogger(__name__)


def choose_runner(
    model: MusicGen,
    device: str,
    rows: int,
    *,
    torch_compile: bool = False,
    kernels: KernelOptions | None = None,
) -> tuple[StepRunner, int]:
    """Return the step runner for `device` and its number of rows, at most `rows`.

    If two rows fit, a GPU gets slots for whole windows with CUDA graphs. `torch_compile` compiles
    their layers before capture; `kernels` runs Triton kernels instead of them.
    """
    if device == "cpu":
        if torch_compile:
            logger.warning("MUSICGEN_COMPILE has no effect on a CPU.")
        if kernels is not None:
            logger.warning("MUSICGEN_KERNELS has no effect on a CPU.")
        return EagerRunner(), rows
    decoder, capacity = model.decoder, compute_slot_capacity(model)
    # Rounded weights lie beside the model's own, so before the free memory is read.
    fused = None if kernels is None else fuse_layers(model, kernels)
    size, form = decoder.embeddings.element_size(), "" if fused is None else fused.kernels.kv_cache
    row_bytes = RowSlots.compute_row_bytes(decoder.config, capacity, PROMPT_TOKENS, size, form)
    free = free_memory(device) or 0
    longest = math.ceil(DURATION_MAX_SECONDS * model.config.frame_rate)
    fitting_rows = min(
        rows, count_rows(free, row_bytes, estimate_codec_memory(model.config, longest))
    )
    if fitting_rows < 2:
        logger.warning("Too little memory for slots (%.1f GB free); steps are slower.", free / 1e9)
        return EagerRunner(), rows
    if fitting_rows < rows:
        logger.warning("Memory for %d of %s in a batch.", fitting_rows, format_count(rows, "row"))
    slots = RowSlots(
        decoder, fitting_rows, capacity, PROMPT_TOKENS, compiled=torch_compile, fused=fused
    )
    return SlotRunner(slots, capture=True), fitting_rows


def fuse_layers(model: MusicGen, options: KernelOptions) -> FusedLayers | None:
    """Return the model's layers for Triton kernels, or None where those do not run."""
    kernels = load_kernels(model.device, model.decoder.config, model.dtype, options)
    if kernels is None:
        return None
    weights = options.weights if kernels.multiply is not None else ""
    return FusedLayers(model.decoder, kernels, weights=weights)


def count_rows(free: int, row_bytes: int, codec_bytes: int) -> int:
    """Return the rows that fit into `free` bytes, with `codec_bytes` for each clip's waveform.

    Callers decode their clips in their own threads, so clips that end together are decoded
    together. A guided clip has two rows; at least one clip is decoded.
    """
    spare = free * (1 - RESERVED_FRACTION)
    return min(int(spare // (row_bytes + codec_bytes / 2)), int((spare - codec_bytes) // row_bytes))


def compute_slot_capacity(model: MusicGen) -> int:
    """Return the decoder steps of a whole window with its prefix, rounded up to `ALIGNMENT`."""
    config = model.config
    decoder = config.decoder
    pattern = DelayPattern(decoder.codebooks, decoder.channels, decoder.start_token)
    prefix = 0 if config.family == "text" else config.chroma_frames + PROMPT_TOKENS
    return -(-(pattern.count_steps(config.window_frames) + prefix) // ALIGNMENT) * ALIGNMENT
