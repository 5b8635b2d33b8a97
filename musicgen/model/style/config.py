"""Configuration of the style encoder. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MERT_FIXED: Mapping[str, tuple[Any, ...]] = {
    "feature_extractor_cqt": (False, None),
    "deepnorm": (False, None),
    "attention_relax": (-1, None),
    "feat_proj_layer_norm": (True, None),
    "feat_extract_norm": ("group", None),
    "do_stable_layer_norm": (False, None),
    "conv_pos_batch_norm": (False, None),
    "feat_extract_activation": ("gelu", None),
    "hidden_act": ("gelu", None),
}
MOST_FRAMES = 4096
"""Bound of the features of one excerpt."""


@dataclass(frozen=True)
class FeatureConfig:
    """MERT: HuBERT's network, trained on music. The `conv_*` are by layer."""

    hidden_size: int
    heads: int
    layers: int
    ffn_size: int
    conv_sizes: tuple[int, ...]
    conv_kernels: tuple[int, ...]
    conv_strides: tuple[int, ...]
    conv_bias: bool
    position_kernel: int
    position_groups: int
    norm_eps: float
    sample_rate: int

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> FeatureConfig:
        """Parse MERT's `config.json`. Raises: ValueError for another network."""
        for name, allowed in _MERT_FIXED.items():
            if raw.get(name) not in allowed:
                raise ValueError(f"{name} must be {allowed[0]!r} (was {raw.get(name)!r})")
        config = cls(
            hidden_size=raw.get("hidden_size", 768),
            heads=raw.get("num_attention_heads", 12),
            layers=raw.get("num_hidden_layers", 12),
            ffn_size=raw.get("intermediate_size", 3072),
            conv_sizes=tuple(raw.get("conv_dim", (512,) * 7)),
            conv_kernels=tuple(raw.get("conv_kernel", (10, 3, 3, 3, 3, 2, 2))),
            conv_strides=tuple(raw.get("conv_stride", (5, 2, 2, 2, 2, 2, 2))),
            conv_bias=raw.get("conv_bias", False),
            position_kernel=raw.get("num_conv_pos_embeddings", 128),
            position_groups=raw.get("num_conv_pos_embedding_groups", 16),
            norm_eps=raw.get("layer_norm_eps", 1e-5),
            sample_rate=raw.get("sample_rate", 24_000),
        )
        if config.hidden_size % config.heads or config.hidden_size % config.position_groups:
            raise ValueError(f"hidden_size {config.hidden_size} does not divide into heads")
        if not len(config.conv_sizes) == len(config.conv_kernels) == len(config.conv_strides) > 0:
            raise ValueError("conv_dim, conv_kernel and conv_stride must have one length")
        return config

    def count_parameters(self) -> int:
        """Count the parameters of the network."""
        size, inputs = self.hidden_size, (1, *self.conv_sizes[:-1])
        total = sum(
            (before * kernel + self.conv_bias) * after
            for before, after, kernel in zip(
                inputs, self.conv_sizes, self.conv_kernels, strict=True
            )
        )
        total += 2 * self.conv_sizes[0] + 2 * self.conv_sizes[-1]
        total += (self.conv_sizes[-1] + 1) * size
        total += (size // self.position_groups * self.position_kernel + 1) * size + 2 * size
        ffn = (size + 1) * self.ffn_size + (self.ffn_size + 1) * size
        return total + self.layers * (4 * (size + 1) * size + ffn + 4 * size)

    def count_frames(self, samples: int) -> int:
        """Return the frames of `samples` samples, at least 0."""
        for kernel, stride in zip(self.conv_kernels, self.conv_strides, strict=True):
            samples = max(0, (samples - kernel) // stride + 1)
        return samples


@dataclass(frozen=True)
class StyleConfig:
    """The style encoder.

    `codebooks` of `codebook_size` entries form the bottleneck, of which `default_codebooks` are
    used unless a request says otherwise. Every `stride`-th state is kept. `seconds`: default
    length of an excerpt.
    """

    features: FeatureConfig
    hidden_size: int
    heads: int
    layers: int
    codebooks: int
    codebook_size: int
    default_codebooks: int
    stride: int
    seconds: float
    shortest_seconds: float
    longest_seconds: float
    has_batch_norm: bool

    @property
    def ffn_size(self) -> int:
        """Width of the feed-forward layers."""
        return 4 * self.hidden_size

    def count_parameters(self, output_size: int) -> int:
        """Count the parameters of `StyleEncoder` with states of `output_size`."""
        size = self.hidden_size
        layer = 4 * size * size + 2 * size * self.ffn_size + 4 * size
        total = self.features.count_parameters() + (self.features.hidden_size + 1) * size
        total += self.layers * layer + (2 * size if self.has_batch_norm else 0)
        return total + self.codebooks * self.codebook_size * size + (size + 1) * output_size

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> StyleConfig:
        """Parse the section `style_encoder` of a checkpoint's `config.json`.

        Raises: KeyError, TypeError, ValueError.
        """
        config = cls(
            features=FeatureConfig.from_json(raw["feature_extractor"]),
            hidden_size=raw["hidden_size"],
            heads=raw["num_attention_heads"],
            layers=raw["num_hidden_layers"],
            codebooks=raw["num_codebooks"],
            codebook_size=raw["codebook_size"],
            default_codebooks=raw["default_codebooks"],
            stride=raw["stride"],
            seconds=float(raw["seconds"]),
            shortest_seconds=float(raw["shortest_seconds"]),
            longest_seconds=float(raw["longest_seconds"]),
            has_batch_norm=raw["batch_norm"],
        )
        if config.hidden_size % config.heads or config.hidden_size % 2:
            raise ValueError(f"hidden_size {config.hidden_size} does not divide into heads")
        if not 1 <= config.default_codebooks <= config.codebooks:
            raise ValueError(f"default_codebooks must be from 1 to {config.codebooks}")
        longest = int(config.longest_seconds * config.features.sample_rate)
        if not 0 < config.shortest_seconds <= config.seconds <= config.longest_seconds:
            raise ValueError("seconds must lie between shortest_seconds and longest_seconds")
        if not 0 < config.features.count_frames(longest) <= MOST_FRAMES:
            raise ValueError(f"an excerpt must have from 1 to {MOST_FRAMES} frames")
        return config
