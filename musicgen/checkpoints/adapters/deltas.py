"""Arithmetic of the merge: a base tensor and the parts of an adapter to the merged tensor.

All of it is float32. LoRA: Hu et al. 2021, W + (alpha / r) B A, or alpha / sqrt(r) if
rank-stabilized (Kalajdzievski 2023). DoRA: Liu et al. 2024. LoHa: Hyeon-Woo et al. 2021. LoKr:
Yeh et al. 2023. IA3: Liu et al. 2022.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from musicgen.checkpoints.adapters.kinds import find_pattern

Parts = Mapping[str, Tensor]
"""Tensors of an adapter for one module, by their names after the module's."""


@dataclass(frozen=True)
class Place:
    """A module of the checkpoint, and the adapter's configuration."""

    module: str
    config: Mapping[str, Any]

    def find_scale(self, alpha: str, rank: int) -> float:
        """Return alpha / rank of this module; `alpha`: the option with its default."""
        default = self.config.get(alpha, 8)
        value = float(find_pattern(self.config.get("alpha_pattern"), self.module, default))
        return value / (math.sqrt(rank) if self.config.get("use_rslora") else rank)


Merge = Callable[[Tensor, Parts, Place], Tensor]


def merge_lora(base: Tensor, parts: Parts, place: Place) -> Tensor:
    """Merge LoRA, rank-stabilized LoRA and DoRA into the weight of a linear layer."""
    down, up = parts["lora_A.weight"], parts["lora_B.weight"]
    changed = base + up @ down * place.find_scale("lora_alpha", down.shape[0])
    return _restore_magnitude(changed, parts, dim=1)


def merge_lora_embedding(base: Tensor, parts: Parts, place: Place) -> Tensor:
    """Merge LoRA and DoRA into an embedding. PEFT keeps DoRA's magnitudes by column here."""
    down, up = parts["lora_embedding_A"], parts["lora_embedding_B"]
    changed = base + (up @ down).t() * place.find_scale("lora_alpha", down.shape[0])
    return _restore_magnitude(changed, parts, dim=0)


def merge_lora_bias(base: Tensor, parts: Parts, place: Place) -> Tensor:
    """Merge the bias of LoRA's second matrix into the layer's bias."""
    rank = parts["lora_A.weight"].shape[0]
    return base + parts["lora_B.bias"] * place.find_scale("lora_alpha", rank)


def merge_loha(base: Tensor, parts: Parts, place: Place) -> Tensor:
    """Merge LoHa: the element-wise product of two low-rank matrices."""
    first = parts["hada_w1_a"] @ parts["hada_w1_b"]
    second = parts["hada_w2_a"] @ parts["hada_w2_b"]
    return base + first * second * place.find_scale("alpha", parts["hada_w1_b"].shape[0])


def merge_lokr(base: Tensor, parts: Parts, place: Place) -> Tensor:
    """Merge LoKr: the Kronecker product of two matrices, each whole or low-rank."""
    first, second = (
        parts[name] if name in parts else parts[f"{name}_a"] @ parts[f"{name}_b"]
        for name in ("lokr_w1", "lokr_w2")
    )
    # Whole matrices do not tell the rank.
    rank = int(
        find_pattern(place.config.get("rank_pattern"), place.module, place.config.get("r", 8))
    )
    return base + torch.kron(first, second) * place.find_scale("alpha", rank)


def merge_ia3(base: Tensor, parts: Parts, place: Place) -> Tensor:
    """Merge IA3: factors of the outputs (outputs, 1), or of the inputs (1, inputs)."""
    return base * parts["ia3_l"]


def merge_ia3_bias(base: Tensor, parts: Parts, place: Place) -> Tensor:
    """Scale a bias with the factors of the outputs; those of the inputs leave it."""
    factors = parts["ia3_l"]
    return base * factors.reshape(base.shape) if factors.shape[1] == 1 else base


def replace_rows(base: Tensor, parts: Parts, place: Place) -> Tensor:
    """Replace the rows of trained tokens."""
    rows = next(iter(parts.values()))
    return base.index_copy(0, torch.tensor(find_tokens(place)), rows)


def find_tokens(place: Place) -> list[int]:
    """Return the trained rows of a module's embedding, in the order of the adapter's tensor."""
    tokens = place.config.get("token_indices") or place.config.get("trainable_token_indices")
    if isinstance(tokens, dict):
        fitting = [rows for name, rows in tokens.items() if place.module.endswith(name)]
        return list(fitting[0]) if len(fitting) == 1 else []
    return list(tokens or [])


def replace_norm(name: str) -> Merge:
    """Return the merge that takes the part `ln_tuning_layers.NAME` whole."""
    return lambda base, parts, place: parts[f"ln_tuning_layers.{name}"]


def _restore_magnitude(changed: Tensor, parts: Parts, dim: int) -> Tensor:
    """Scale rows (`dim` 1) or columns (0) to DoRA's magnitudes, if the adapter has them."""
    if "lora_magnitude_vector" not in parts:
        return changed
    norm: Tensor = torch.linalg.norm(changed, dim=dim, keepdim=True)
    magnitude = parts["lora_magnitude_vector"]
    scaled: Tensor = magnitude.reshape(norm.shape) / norm * changed
    return scaled
