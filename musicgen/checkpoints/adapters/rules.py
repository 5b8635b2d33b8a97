"""Tensors of each merged kind: their names after a module's, and the merge for each weight."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import product

from musicgen.checkpoints.adapters import deltas
from musicgen.checkpoints.adapters.deltas import Merge


@dataclass(frozen=True)
class Rule:
    """One complete set of parts of a module.

    `merges`: the merge of each tensor of the module. `required`: the tensors among them that the
    checkpoint must have. `options`: parts that are present if and only if their option is on.
    `is_targeted`: the option target_modules names the module.
    """

    parts: frozenset[str]
    merges: Mapping[str, Merge]
    required: tuple[str, ...] = ("weight",)
    options: Mapping[str, str] = field(default_factory=dict)
    is_targeted: bool = True
    has_tokens: bool = False

    def fits(self, parts: Collection[str]) -> bool:
        """Return whether `parts` are all of this rule's parts and no other ones."""
        return self.parts <= set(parts) <= {*self.parts, *self.options}


_DORA = {"lora_magnitude_vector": "use_dora"}
_BIAS = {"lora_B.bias": "lora_bias"}
_PAIR = frozenset({"lora_A.weight", "lora_B.weight"})
_TOKENS = "trainable_tokens_delta"
_RULES: Mapping[str, tuple[Rule, ...]] = {
    "LORA": (
        Rule(
            _PAIR | {"lora_B.bias"},
            {"weight": deltas.merge_lora, "bias": deltas.merge_lora_bias},
            required=("weight", "bias"),
            options=_BIAS,
        ),
        Rule(_PAIR, {"weight": deltas.merge_lora}, options=_DORA | _BIAS),
        Rule(
            frozenset({"lora_embedding_A", "lora_embedding_B"}),
            {"weight": deltas.merge_lora_embedding},
            options=_DORA,
        ),
        Rule(
            frozenset({f"token_adapter.{_TOKENS}"}),
            {"weight": deltas.replace_rows},
            is_targeted=False,
            has_tokens=True,
        ),
    ),
    "LOHA": (
        Rule(
            frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}),
            {"weight": deltas.merge_loha},
        ),
    ),
    "LOKR": tuple(
        Rule(frozenset(first + second), {"weight": deltas.merge_lokr})
        for first, second in product(
            (("lokr_w1",), ("lokr_w1_a", "lokr_w1_b")), (("lokr_w2",), ("lokr_w2_a", "lokr_w2_b"))
        )
    ),
    "IA3": (
        Rule(frozenset({"ia3_l"}), {"weight": deltas.merge_ia3, "bias": deltas.merge_ia3_bias}),
    ),
    "LN_TUNING": (
        Rule(frozenset({"ln_tuning_layers.weight"}), {"weight": deltas.replace_norm("weight")}),
        Rule(
            frozenset({"ln_tuning_layers.weight", "ln_tuning_layers.bias"}),
            {name: deltas.replace_norm(name) for name in ("weight", "bias")},
            required=("weight", "bias"),
        ),
    ),
    "TRAINABLE_TOKENS": (
        Rule(frozenset({_TOKENS}), {"weight": deltas.replace_rows}, has_tokens=True),
    ),
}


def list_rules(kind: str) -> tuple[Rule, ...]:
    """Return the rules of a kind."""
    return _RULES[kind]


def split_part(kind: str, name: str) -> tuple[str, str] | None:
    """Return module and part of an adapter's tensor, or None for a tensor saved whole."""
    for rule in _RULES[kind]:
        for part in (*rule.parts, *rule.options):
            if name.endswith(f".{part}"):
                return name.removesuffix(f".{part}"), part
    return None


def find_rule(kind: str, parts: Collection[str]) -> Rule | None:
    """Return the rule that a module's parts complete, or None."""
    return next((rule for rule in _RULES[kind] if rule.fits(parts)), None)
