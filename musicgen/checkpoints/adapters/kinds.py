"""Kinds of PEFT adapters: merged here, merged by PEFT alone, or impossible to merge.

Every kind, initialisation and option needs a decision here. An unknown one is refused by name,
because its tensors may mean something else. Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from musicgen.checkpoints.adapters.option_types import check_types
from musicgen.errors import UnsupportedAdapter
from musicgen.model.json_file import read_json

ADAPTER_CONFIG = "adapter_config.json"

_COMMON = frozenset(
    {
        *("auto_mapping", "base_model_name_or_path", "exclude_modules", "inference_mode"),
        *("layers_pattern", "layers_to_transform", "modules_to_save", "peft_type", "peft_version"),
        *("revision", "target_modules", "task_type"),
    }
)
_LYCORIS = {
    *("alpha", "alpha_pattern", "init_weights", "module_dropout", "r", "rank_dropout"),
    *("rank_pattern", "use_effective_conv2d"),
}
MERGED: Mapping[str, frozenset[str]] = {
    "LORA": _COMMON
    | {
        *("alpha_pattern", "bias", "corda_config", "ensure_weight_tying", "eva_config"),
        *("init_lora_weights", "loftq_config", "lora_alpha", "lora_bias", "lora_dropout"),
        *("lora_ga_config", "megatron_core", "qalora_group_size", "r", "rank_pattern"),
        *("runtime_config", "trainable_token_indices", "use_dora", "use_rslora"),
    },
    "LOHA": _COMMON | _LYCORIS,
    "LOKR": _COMMON | _LYCORIS | {"decompose_both", "decompose_factor", "rank_dropout_scale"},
    "IA3": _COMMON | {"feedforward_modules", "init_ia3_weights"},
    "LN_TUNING": _COMMON,
    "TRAINABLE_TOKENS": _COMMON | {"init_weights", "token_indices"},
}
"""Kinds merged here, each with the options that the merge respects or that concern training only.
Any other option must be unset."""

MERGED_BY_PEFT = frozenset(
    {
        *("ADALORA", "ADAMSS", "BEFT", "BOFT", "BONE", "C3A", "DEFT", "DELORA", "FOURIERFT"),
        *("FROD", "GLORA", "GRALORA", "HIRA", "HRA", "MISS", "OFT", "OSF", "PEANUT", "PSOFT"),
        *("PVERA", "RANDLORA", "ROAD", "SHIRA", "SUPERTUNING", "TINYLORA", "UNILORA", "VBLORA"),
        *("VERA", "WAVEFT"),
    }
)
"""Kinds refused here that PEFT can merge into a whole model."""

NOT_MERGEABLE = frozenset(
    {
        *("ADAPTION_PROMPT", "CARTRIDGE", "CPT", "LILY", "MULTITASK_PROMPT_TUNING", "P_TUNING"),
        *("POLY", "PREFIX_TUNING", "PROMPT_TUNING", "SHADOW", "XLORA"),
    }
)
"""Kinds that no change of weights can express: prompts, prefixes, routers."""

PLAIN_STARTS = frozenset({"true", "false", "gaussian", "eva", "orthogonal", "mica"})
"""Values of `init_lora_weights`, in lower case, that leave the base weights alone."""

MOVING_STARTS: Mapping[str, bool] = {
    "pissa": True,
    "pissa_niter_*": False,
    "olora": True,
    "corda*": False,
    "lora_ga": False,
    "loftq": True,
}
"""Patterns of `init_lora_weights` that also change the base weights, and whether PEFT's own merge
repeats that change exactly."""

_CALL = "PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(FOLDER)"
MERGE_WITH_PEFT = (
    f"Merge it with peft, {_CALL}, add the base's tokenizer files, and load that folder."
)
_OR_MERGE = f" Or: {MERGE_WITH_PEFT}"
_CONVERT = (
    "Save it again where it was trained, with save_pretrained(FOLDER, "
    "path_initial_model_for_weight_conversion=INITIAL_ADAPTER)."
)
_SAVE_WHOLE = "Save the whole model where it was trained."


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """Read an adapter's configuration and check that the adapter can be merged.

    Raises: `UnsupportedAdapter`, `CheckpointIncomplete`, `CheckpointCorrupt`.
    """
    config = read_json(folder / ADAPTER_CONFIG)
    kind = str(config.get("peft_type"))
    if kind in NOT_MERGEABLE:
        raise UnsupportedAdapter(
            f"{folder}: an adapter of the kind {kind} cannot become part of the weights. Train "
            "one of another kind, such as LORA."
        )
    if kind not in MERGED:
        raise UnsupportedAdapter(
            f"{folder}: adapters of the kind {kind} are not merged here. {MERGE_WITH_PEFT}"
        )
    for option, value in sorted(config.items()):
        if option not in MERGED[kind] and is_set(value):
            raise UnsupportedAdapter(
                f"{folder}: the option {option} of {kind} adapters is not supported (was "
                f"{str(value)[:80]}). {MERGE_WITH_PEFT}"
            )
    check_types(folder / ADAPTER_CONFIG, config)
    if kind == "LORA":
        _check_start(folder, config.get("init_lora_weights", True))
    return config


def is_set(value: object) -> bool:
    """Return whether an option's value asks for anything."""
    return bool(value) and value != "none"


def find_pattern(patterns: Mapping[str, Any] | None, module: str, default: Any) -> Any:
    """Return the value of the first pattern that fits the module, as PEFT matches them."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def is_target(targets: object, module: str) -> bool:
    """Return whether `target_modules` names the module; True if it is no list and no pattern."""
    if isinstance(targets, str) and targets != "all-linear":
        return re.fullmatch(targets, module) is not None
    if isinstance(targets, list):
        return any(module == name or module.endswith(f".{name}") for name in targets)
    return True


def _check_start(folder: Path, start: object) -> None:
    """Refuse the initialisations of LoRA that change the base weights, and unknown ones."""
    name = str(start).lower()
    if name in PLAIN_STARTS:
        return
    for pattern, is_repeated in MOVING_STARTS.items():
        if fnmatchcase(name, pattern):
            advice = _SAVE_WHOLE if name == "loftq" else _CONVERT
            raise UnsupportedAdapter(
                f"{folder}: init_lora_weights={start} changed the base weights too, and the "
                f"adapter does not hold that change. {advice}{_OR_MERGE if is_repeated else ''}"
            )
    raise UnsupportedAdapter(
        f"{folder}: init_lora_weights={start} is unknown here. {MERGE_WITH_PEFT}"
    )
