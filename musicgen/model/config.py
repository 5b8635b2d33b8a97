"""Configuration of a checkpoint, parsed from its Hugging Face `config.json`. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from musicgen.errors import UnsupportedCheckpoint
from musicgen.errors.counts import format_count
from musicgen.model.json_file import read_json
from musicgen.model.style.config import StyleConfig

WINDOW_FRAMES, SHORTEST_WINDOW_FRAMES = 1500, 250
"""30 s, and the shortest plausible window; shorter values are leftovers of experiments."""
Family = Literal["text", "melody", "style"]
_FAMILIES: dict[str, Family] = {
    "musicgen": "text",
    "musicgen_melody": "melody",
    "musicgen_style": "style",
}


@dataclass(frozen=True)
class TextEncoderConfig:
    """A T5 encoder. The `bias_*` values shape its relative position bias."""

    vocab_size: int
    hidden_size: int
    head_dim: int
    heads: int
    ffn_size: int
    layers: int
    bias_buckets: int
    bias_max_distance: int
    norm_eps: float
    activation: str
    gated: bool


@dataclass(frozen=True)
class DecoderConfig:
    """The autoregressive transformer. `start_token` also pads the delay pattern."""

    vocab_size: int
    hidden_size: int
    heads: int
    ffn_size: int
    layers: int
    codebooks: int
    channels: int
    activation: str
    start_token: int
    cross_attention: bool

    @property
    def head_dim(self) -> int:
        """Size of one attention head."""
        return self.hidden_size // self.heads


@dataclass(frozen=True)
class CodecConfig:
    """EnCodec. One frame is `hop_length` samples."""

    sample_rate: int
    channels: int
    codebooks: int
    codebook_size: int
    codebook_dim: int
    hidden_size: int
    filters: int
    residual_layers: int
    ratios: tuple[int, ...]
    kernel_size: int
    last_kernel_size: int
    residual_kernel_size: int
    dilation_growth: int
    compress: int
    lstm_layers: int
    causal: bool
    conv_shortcut: bool
    pad_mode: str
    trim_right_ratio: float
    unsupported: tuple[str, ...] = ()
    """Settings of the checkpoint not implemented by `Codec`; no checkpoint of Meta uses them."""

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return math.prod(self.ratios)

    @property
    def frame_rate(self) -> int:
        """Frames per second."""
        return math.ceil(self.sample_rate / self.hop_length)


@dataclass(frozen=True)
class MusicGenConfig:
    """Configuration of a whole checkpoint.

    `chroma_*` are 0 but for the melody family. `style` is None but for the style family, unknown to
    transformers. `window_frames` is the clip length used in training, and so the longest context of
    the decoder.
    """

    family: Family
    text_encoder: TextEncoderConfig
    decoder: DecoderConfig
    codec: CodecConfig
    window_frames: int = WINDOW_FRAMES
    chroma_bins: int = 0
    chroma_frames: int = 0
    style: StyleConfig | None = None

    @property
    def sample_rate(self) -> int:
        """Samples per second."""
        return self.codec.sample_rate

    @property
    def frame_rate(self) -> int:
        """Frames per second."""
        return self.codec.frame_rate

    @property
    def channels(self) -> int:
        """Audio channels: 1 or 2."""
        return self.decoder.channels

    @classmethod
    def from_folder(cls, folder: Path) -> MusicGenConfig:
        """Read `config.json`, and `generation_config.json` if it exists.

        Raises: `CheckpointIncomplete`, `CheckpointCorrupt`, `UnsupportedCheckpoint`.
        """
        generation = folder / "generation_config.json"
        return cls.from_json(
            read_json(folder / "config.json"),
            read_json(generation) if generation.exists() else {},
            folder,
        )

    @classmethod
    def from_json(
        cls, raw: Mapping[str, Any], generation: Mapping[str, Any], folder: Path
    ) -> MusicGenConfig:
        """Parse the contents of the two files of `from_folder`; `folder` appears in errors.

        Raises: `UnsupportedCheckpoint`.
        """
        try:
            return _parse(raw, generation)
        except (KeyError, TypeError, ValueError) as error:
            raise UnsupportedCheckpoint(
                f"{folder / 'config.json'} is not a MusicGen configuration ({error!r})."
            ) from error


def _parse(raw: Mapping[str, Any], generation: Mapping[str, Any]) -> MusicGenConfig:
    family = _FAMILIES.get(raw.get("model_type", ""))
    if family is None:
        raise UnsupportedCheckpoint(
            f"model_type must be one of {', '.join(_FAMILIES)} (was {raw.get('model_type')!r})."
        )
    has_melody = family == "melody"
    decoder = _parse_decoder(raw["decoder"], generation, cross_attention=family == "text")
    codec = _parse_codec(raw["audio_encoder"])
    _check_codec_fits(decoder, codec)
    return MusicGenConfig(
        family=family,
        text_encoder=_parse_text_encoder(raw["text_encoder"]),
        decoder=decoder,
        codec=codec,
        window_frames=_parse_window_frames(generation),
        chroma_bins=int(raw.get("num_chroma", 12)) if has_melody else 0,
        chroma_frames=int(raw.get("chroma_length", 235)) if has_melody else 0,
        style=StyleConfig.from_json(raw["style_encoder"]) if family == "style" else None,
    )


def _parse_window_frames(generation: Mapping[str, Any]) -> int:
    """Return the window of a checkpoint, or the default for an implausible value."""
    stated = generation.get("max_length", WINDOW_FRAMES)
    return stated if SHORTEST_WINDOW_FRAMES <= stated <= WINDOW_FRAMES else WINDOW_FRAMES


def _parse_text_encoder(raw: Mapping[str, Any]) -> TextEncoderConfig:
    if raw.get("model_type", "t5") != "t5":
        raise UnsupportedCheckpoint(f"The text encoder must be t5 (was {raw['model_type']!r}).")
    projection = raw.get("feed_forward_proj", "relu")
    gated = projection.startswith("gated-")
    activation = projection.removeprefix("gated-")
    return TextEncoderConfig(
        vocab_size=raw.get("vocab_size", 32128),
        hidden_size=raw.get("d_model", 512),
        head_dim=raw.get("d_kv", 64),
        heads=raw.get("num_heads", 8),
        ffn_size=raw.get("d_ff", 2048),
        layers=raw.get("num_layers", 6),
        bias_buckets=raw.get("relative_attention_num_buckets", 32),
        bias_max_distance=raw.get("relative_attention_max_distance", 128),
        norm_eps=raw.get("layer_norm_epsilon", 1e-6),
        # T5 1.1 calls its tanh-approximated GELU "gated-gelu".
        activation="gelu_new" if projection == "gated-gelu" else activation,
        gated=gated,
    )


def _parse_decoder(
    raw: Mapping[str, Any], generation: Mapping[str, Any], *, cross_attention: bool
) -> DecoderConfig:
    vocab_size = raw.get("vocab_size", 2048)
    start = generation.get("decoder_start_token_id", raw.get("decoder_start_token_id"))
    config = DecoderConfig(
        vocab_size=vocab_size,
        hidden_size=raw.get("hidden_size", 1024),
        heads=raw.get("num_attention_heads", 16),
        ffn_size=raw.get("ffn_dim", 4096),
        layers=raw.get("num_hidden_layers", 24),
        codebooks=raw.get("num_codebooks", 4),
        channels=raw.get("audio_channels", 1),
        activation=raw.get("activation_function", "gelu"),
        start_token=vocab_size if start is None else start,
        cross_attention=cross_attention,
    )
    if config.hidden_size % config.heads:
        raise ValueError(
            f"hidden_size must be a multiple of {format_count(config.heads, 'head')} "
            f"(was {config.hidden_size})"
        )
    if config.channels not in (1, 2) or config.codebooks % config.channels:
        raise ValueError(
            f"{format_count(config.codebooks, 'codebook')} cannot be divided into "
            f"{format_count(config.channels, 'channel')}"
        )
    return config


def _check_codec_fits(decoder: DecoderConfig, codec: CodecConfig) -> None:
    """Check that the codec can decode each channel of the decoder.

    Otherwise a stereo decoder declared as mono, or one beside another codec, would fail only when
    its first audio is decoded.
    """
    per_channel = decoder.codebooks // decoder.channels
    if per_channel > codec.codebooks or decoder.vocab_size > codec.codebook_size:
        raise ValueError(
            f"the decoder has {format_count(per_channel, 'codebook')} of {decoder.vocab_size} per "
            f"channel, but the codec has {codec.codebooks} of {codec.codebook_size}"
        )


def _parse_codec(raw: Mapping[str, Any]) -> CodecConfig:
    if raw.get("model_type", "encodec") != "encodec":
        raise UnsupportedCheckpoint(
            f"The audio encoder must be encodec (was {raw['model_type']!r})."
        )
    unsupported = {
        "norm_type": raw.get("norm_type", "weight_norm") != "weight_norm",
        "normalize": bool(raw.get("normalize", False)),
        "chunk_length_s": raw.get("chunk_length_s") is not None,
    }
    ratios = tuple(raw.get("upsampling_ratios", (8, 5, 4, 2)))
    sample_rate = raw.get("sampling_rate", 24000)
    codebook_size = raw.get("codebook_size", 1024)
    hidden_size = raw.get("hidden_size", 128)
    frame_rate = math.ceil(sample_rate / math.prod(ratios))
    bandwidth = 1000 * raw.get("target_bandwidths", (1.5, 3.0, 6.0, 12.0, 24.0))[-1]
    return CodecConfig(
        sample_rate=sample_rate,
        channels=raw.get("audio_channels", 1),
        codebooks=int(bandwidth // (frame_rate * math.ceil(math.log2(codebook_size)))),
        codebook_size=codebook_size,
        codebook_dim=raw.get("codebook_dim") or hidden_size,
        hidden_size=hidden_size,
        filters=raw.get("num_filters", 32),
        residual_layers=raw.get("num_residual_layers", 1),
        ratios=ratios,
        kernel_size=raw.get("kernel_size", 7),
        last_kernel_size=raw.get("last_kernel_size", 7),
        residual_kernel_size=raw.get("residual_kernel_size", 3),
        dilation_growth=raw.get("dilation_growth_rate", 2),
        compress=raw.get("compress", 2),
        lstm_layers=raw.get("num_lstm_layers", 2),
        causal=raw.get("use_causal_conv", True),
        conv_shortcut=raw.get("use_conv_shortcut", True),
        pad_mode=raw.get("pad_mode", "reflect"),
        trim_right_ratio=raw.get("trim_right_ratio", 1.0),
        unsupported=tuple(
            f"{name}={raw[name]!r}" for name, is_used in unsupported.items() if is_used
        ),
    )
