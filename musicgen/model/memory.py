"""Memory needed by a checkpoint, computed from its configuration alone. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from musicgen.model.config import CodecConfig, DecoderConfig, MusicGenConfig, TextEncoderConfig

PIECE_FRAMES = {"cpu": 50, "cuda": 250}
"""Frames per piece when a whole clip is decoded. Activations are a hundred times larger than the
audio; in pieces they need little memory, and fit into a CPU's cache."""
# int4 has one factor for 16 weights, and weights outside the layers in int8.
BYTES_PER_WEIGHT = {"float32": 4, "bfloat16": 2, "int8": 1, "int4": 0.63}
# The native step has int8 keys and values beside int8 and int4 weights, with a factor of four bytes
# for each head. int8 can do without that step; keys and values then are float32.
BYTES_PER_CACHE_VALUE = {"float32": 4, "bfloat16": 2, "int8": 4, "int4": 1.0625}
# Peak of EnCodec's activations: the last layers hold a few maps of `filters` channels at the full
# sampling rate.
CODEC_LIVE_MAPS = 4
_LSTM_GATES = 4


@dataclass(frozen=True)
class ParameterCounts:
    """Parameters of the decoder, and of all `other` parts: text encoder, projections and codec."""

    decoder: int
    other: int


def count_parameters(config: MusicGenConfig) -> ParameterCounts:
    """Count the parameters of `MusicGen` by arithmetic."""
    size, text_size = config.decoder.hidden_size, config.text_encoder.hidden_size
    other = _count_text_encoder(config.text_encoder) + _count_codec(config.codec)
    inputs = [text_size, *([config.chroma_bins] if config.family == "melody" else [])]
    other += sum((width + 1) * size for width in inputs if width != size)
    if config.style is not None:
        other += config.style.count_parameters(size)
    return ParameterCounts(_count_decoder(config.decoder), other)


def _count_decoder(config: DecoderConfig) -> int:
    size, norm = config.hidden_size, 2 * config.hidden_size
    attention = 4 * size * size + norm
    blocks = 2 if config.cross_attention else 1
    layer = blocks * attention + 2 * size * config.ffn_size + norm
    tokens = config.codebooks * (2 * config.vocab_size + 1)
    return config.layers * layer + tokens * size + norm


def _count_text_encoder(config: TextEncoderConfig) -> int:
    size = config.hidden_size
    matrices = 4 * size * config.heads * config.head_dim
    matrices += (3 if config.gated else 2) * size * config.ffn_size
    rest = config.vocab_size * size + config.bias_buckets * config.heads + size
    return config.layers * (matrices + 2 * size) + rest


def _count_codec(config: CodecConfig) -> int:
    """Count the encoder, which mirrors the decoder, the decoder, and the codebooks."""
    width, middle = config.filters, config.filters * 2 ** len(config.ratios)
    lstm = config.lstm_layers * (2 * middle * middle + 2 * middle) * _LSTM_GATES
    total = config.codebooks * config.codebook_size * config.codebook_dim + 2 * lstm
    total += _count_convolution(config.channels, width, config.kernel_size)
    total += _count_convolution(middle, config.hidden_size, config.last_kernel_size)
    total += _count_convolution(config.hidden_size, middle, config.kernel_size)
    total += _count_convolution(width, config.channels, config.last_kernel_size)
    for ratio in reversed(config.ratios):
        total += 2 * config.residual_layers * _count_residual_block(config, width)
        total += _count_convolution(width, 2 * width, 2 * ratio)
        total += _count_convolution(2 * width, width, 2 * ratio)
        width *= 2
    return total


def _count_residual_block(config: CodecConfig, width: int) -> int:
    hidden = width // config.compress
    total = _count_convolution(width, hidden, config.residual_kernel_size)
    total += _count_convolution(hidden, width, 1)
    return total + (_count_convolution(width, width, 1) if config.conv_shortcut else 0)


def _count_convolution(inputs: int, outputs: int, kernel: int) -> int:
    return (inputs * kernel + 1) * outputs


def estimate_memory(config: MusicGenConfig, precision: str) -> int:
    """Return the bytes for the weights and for one guided clip of a whole window.

    A longer clip needs no more, except for its samples.
    """
    counts = count_parameters(config)
    weights = int(counts.decoder * BYTES_PER_WEIGHT[precision]) + counts.other * 4
    # Text and style are guided apart, in a third row.
    rows = 3 if config.family == "style" else 2
    cached = 2 * config.decoder.layers * rows * config.window_frames * config.decoder.hidden_size
    cache = int(cached * BYTES_PER_CACHE_VALUE[precision])
    return weights + cache + estimate_codec_memory(config, config.window_frames)


def estimate_codec_memory(config: MusicGenConfig, frames: int) -> int:
    """Return the peak bytes of decoding one clip's waveform.

    They are the activations of a piece and all samples.
    """
    piece = min(frames, max(PIECE_FRAMES.values())) * config.codec.filters * CODEC_LIVE_MAPS
    return (piece + frames * config.channels) * config.codec.hop_length * 4
