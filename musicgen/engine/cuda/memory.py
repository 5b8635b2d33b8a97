"""How many rows a GPU has memory for, planned before the first request."""

from __future__ import annotations

import logging
import math

from musicgen.engine.cuda.graphs import EagerSteps, SlotSteps, Steps
from musicgen.engine.cuda.slots import RowSlots
from musicgen.model.delay_pattern import DelayPattern
from musicgen.model.memory import codec_memory
from musicgen.model.musicgen import MusicGen
from musicgen.process.resources import free_memory
from musicgen.request.limits import DURATION_MAX_SECONDS

PROMPT_TOKENS = 128
"""Of a prompt in a slot: four times what people write. A longer one is decoded by itself."""
KEPT_FREE = 0.1
"""Of the free memory, for prefixes and what PyTorch's allocator cannot reuse."""

logger = logging.getLogger(__name__)


def plan_steps(
    model: MusicGen, device: str, rows: int, *, torch_compile: bool = False
) -> tuple[Steps, int]:
    """How to run steps on `device`, and for how many rows of the `rows` wished for.

    A GPU gets slots for whole windows, recorded as CUDA graphs, if two rows fit; with
    `torch_compile` their layers are compiled before they are recorded.
    """
    if device == "cpu":
        if torch_compile:
            logger.warning("MUSICGEN_COMPILE is for GPUs: nothing is compiled for a processor")
        return EagerSteps(), rows
    decoder, capacity = model.decoder, longest_sequence(model)
    size = decoder.embeddings.element_size()
    each = RowSlots.bytes_of_row(decoder.config, capacity, PROMPT_TOKENS, size)
    free = free_memory(device) or 0
    longest = math.ceil(DURATION_MAX_SECONDS * model.config.frame_rate)
    spare = free * (1 - KEPT_FREE) - codec_memory(model.config, longest)
    fitting = min(rows, int(spare // each))
    if fitting < 2:
        logger.warning("%.1f GB free: too few for slots, steps will be slower", free / 1e9)
        return EagerSteps(), rows
    if fitting < rows:
        logger.warning("memory for %d of %d rows in a batch", fitting, rows)
    slots = RowSlots(decoder, fitting, capacity, PROMPT_TOKENS, compiled=torch_compile)
    return SlotSteps(slots, record=True), fitting


def longest_sequence(model: MusicGen) -> int:
    """Steps of a whole window with its prefix."""
    config = model.config
    decoder = config.decoder
    pattern = DelayPattern(decoder.codebooks, decoder.channels, decoder.start_token)
    prefix = 0 if config.family == "text" else config.chroma_frames + PROMPT_TOKENS
    return pattern.template(config.window_frames).shape[1] + prefix
