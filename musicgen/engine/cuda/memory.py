"""How many rows a GPU has memory for, planned before the first request."""

from __future__ import annotations

import logging
import math

from musicgen.engine.cuda.graphs import EagerRunner, SlotRunner, StepRunner
from musicgen.engine.cuda.slots import RowSlots
from musicgen.model.delay_pattern import DelayPattern
from musicgen.model.memory import estimate_codec_memory
from musicgen.model.musicgen import MusicGen
from musicgen.process.resources import free_memory
from musicgen.request.limits import DURATION_MAX_SECONDS

PROMPT_TOKENS = 128
"""Of a prompt in a slot: four times what people write. A longer one is decoded by itself."""
RESERVED_FRACTION = 0.1
"""Of the free memory, for prefixes and what PyTorch's allocator cannot reuse."""

logger = logging.getLogger(__name__)


def choose_runner(
    model: MusicGen, device: str, rows: int, *, torch_compile: bool = False
) -> tuple[StepRunner, int]:
    """How to run steps on `device`, and for how many rows of the `rows` wished for.

    A GPU gets slots for whole windows, recorded as CUDA graphs, if two rows fit; with
    `torch_compile` their layers are compiled before they are recorded.
    """
    if device == "cpu":
        if torch_compile:
            logger.warning("MUSICGEN_COMPILE is for GPUs: nothing is compiled for a processor")
        return EagerRunner(), rows
    decoder, capacity = model.decoder, compute_slot_capacity(model)
    size = decoder.embeddings.element_size()
    row_bytes = RowSlots.compute_row_bytes(decoder.config, capacity, PROMPT_TOKENS, size)
    free = free_memory(device) or 0
    longest = math.ceil(DURATION_MAX_SECONDS * model.config.frame_rate)
    spare = free * (1 - RESERVED_FRACTION) - estimate_codec_memory(model.config, longest)
    fitting_rows = min(rows, int(spare // row_bytes))
    if fitting_rows < 2:
        logger.warning("%.1f GB free: too few for slots, steps will be slower", free / 1e9)
        return EagerRunner(), rows
    if fitting_rows < rows:
        logger.warning("memory for %d of %d rows in a batch", fitting_rows, rows)
    slots = RowSlots(decoder, fitting_rows, capacity, PROMPT_TOKENS, compiled=torch_compile)
    return SlotRunner(slots, capture=True), fitting_rows


def compute_slot_capacity(model: MusicGen) -> int:
    """Steps of a whole window with its prefix."""
    config = model.config
    decoder = config.decoder
    pattern = DelayPattern(decoder.codebooks, decoder.channels, decoder.start_token)
    prefix = 0 if config.family == "text" else config.chroma_frames + PROMPT_TOKENS
    return pattern.build_template(config.window_frames).shape[1] + prefix
