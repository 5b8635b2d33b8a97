"""Memory needed by a checkpoint, computed from its configuration alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from musicgen.model.codec_stream import PIECE_FRAMES
from musicgen.model.config import MusicGenConfig
from musicgen.model.musicgen import MusicGen

BYTES_PER_WEIGHT = {"float32": 4, "bfloat16": 2, "int8": 1}
# int8 applies to the weights; without the native step, keys and values stay float32.
BYTES_PER_CACHE_VALUE = {"float32": 4, "bfloat16": 2, "int8": 4}
# Peak of EnCodec's activations: the last layers hold a few maps of `filters` channels at the full
# sampling rate.
CODEC_LIVE_MAPS = 4


@dataclass(frozen=True)
class ParameterCounts:
    """Parameters of the decoder, and of all `other` parts: text encoder, projections and codec."""

    decoder: int
    other: int


def count_parameters(config: MusicGenConfig) -> ParameterCounts:
    """Count parameters without allocating them, on the meta device.

    An activation that `MusicGen` lacks does not matter: it has no parameters.
    """
    config = replace(
        config,
        decoder=replace(config.decoder, activation="gelu"),
        text_encoder=replace(config.text_encoder, activation="gelu"),
    )
    with torch.device("meta"):
        model = MusicGen(config)
    decoder = sum(p.numel() for p in model.decoder.parameters())
    return ParameterCounts(decoder, sum(p.numel() for p in model.parameters()) - decoder)


def estimate_memory(config: MusicGenConfig, precision: str) -> int:
    """Return the bytes for the weights and for one guided clip of a whole window.

    A longer clip needs no more, except for its samples.
    """
    counts = count_parameters(config)
    weights = counts.decoder * BYTES_PER_WEIGHT[precision] + counts.other * 4
    rows = 2
    cached = 2 * config.decoder.layers * rows * config.window_frames * config.decoder.hidden_size
    cache = cached * BYTES_PER_CACHE_VALUE[precision]
    return weights + cache + estimate_codec_memory(config, config.window_frames)


def estimate_codec_memory(config: MusicGenConfig, frames: int) -> int:
    """Return the peak bytes of decoding one clip's waveform.

    They are the activations of a piece and all samples.
    """
    piece = min(frames, max(PIECE_FRAMES.values())) * config.codec.filters * CODEC_LIVE_MAPS
    return (piece + frames * config.channels) * config.codec.hop_length * 4
