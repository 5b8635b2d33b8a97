"""Each kind, initialisation and option of the installed PEFT is decided: merged or refused.

A new one in PEFT fails here until somebody decides.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import re
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from handlers.doctor.model_checks import check_model
from musicgen.checkpoints.adapters.adapter import apply_to
from musicgen.checkpoints.adapters.kinds import (
    MERGED,
    MERGED_BY_PEFT,
    MOVING_STARTS,
    NOT_MERGEABLE,
    PLAIN_STARTS,
    read_adapter_config,
)
from musicgen.errors import CheckpointCorrupt, UnsupportedAdapter
from musicgen.settings import Settings
from tests.support import adapters, oracle

peft = pytest.importorskip("peft")
KINDS = {kind.value: config for kind, config in peft.PEFT_TYPE_TO_CONFIG_MAPPING.items()}
REFUSED_OPTIONS = {
    "LORA": {
        *("alora_invocation_tokens", "arrow_config", "fan_in_fan_out", "kasa_config"),
        *("layer_replication", "megatron_config", "monteclora_config", "target_parameters"),
        *("use_bdlora", "use_qalora", "velora_config"),
    },
    "IA3": {"fan_in_fan_out"},
}
CONVERTED_BY_PEFT = ("pissa", "pissa_niter_4", "olora", "corda", "lora_ga")


def _list_starts() -> set[str]:
    """Values of init_lora_weights: those of the annotation, and those that PEFT's code compares."""
    hint = typing.get_type_hints(peft.LoraConfig)["init_lora_weights"]
    named = {name for part in typing.get_args(hint) for name in typing.get_args(part)}
    found = {"True", "False"} | {name.replace("[number of iters]", "4") for name in named}
    from peft.tuners.lora import config, layer, variants

    compared = r"""init_lora_weights(?:\.lower\(\))?(?: *== *|\.startswith\()["'](\w+)["']"""
    for module in (config, layer, variants):
        found |= set(re.findall(compared, inspect.getsource(module)))
    return found


def _is_moving(start: str) -> bool:
    from fnmatch import fnmatchcase

    return any(fnmatchcase(start, pattern) for pattern in MOVING_STARTS)


def _write_config(folder: Path, **options: Any) -> None:
    (folder / "adapter_config.json").write_text(json.dumps(options))


def test_every_kind_is_decided_once() -> None:
    decided = [*MERGED, *MERGED_BY_PEFT, *NOT_MERGEABLE]
    assert len(decided) == len(set(decided))
    assert set(KINDS) <= set(decided), "decide about them in musicgen/checkpoints/adapters/kinds.py"
    assert set(decided) - set(KINDS) <= {"BONE"}, "older versions of PEFT have them"


@pytest.mark.parametrize("kind", sorted({*KINDS, "LATER", "BONE"} - set(MERGED)))
def test_a_refused_kind_is_named(tmp_path: Path, kind: str) -> None:
    _write_config(tmp_path, peft_type=kind)
    advice = "Train one of another kind" if kind in NOT_MERGEABLE else "merge_and_unload"
    with pytest.raises(UnsupportedAdapter, match=rf"kind {kind}\b.*{advice}"):
        read_adapter_config(tmp_path)


def test_every_initialisation_is_decided_once() -> None:
    starts = _list_starts()
    assert {"pissa", "pissa_niter_4", "loftq", "lora_ga", "mica", "eva"} <= starts
    undecided = {s for s in starts if (s.lower() in PLAIN_STARTS) == _is_moving(s.lower())}
    assert not undecided, "decide about them in musicgen/checkpoints/adapters/kinds.py"


@pytest.mark.parametrize("start", sorted({*_list_starts(), "OLoRA", "pissa_niter_16", "later"}))
def test_an_initialisation_is_taken_or_named(tmp_path: Path, start: str) -> None:
    value: Any = {"True": True, "False": False}.get(start, start)
    _write_config(tmp_path, peft_type="LORA", init_lora_weights=value)
    if start.lower() in PLAIN_STARTS:
        read_adapter_config(tmp_path)
        return
    words = "path_initial_model_for_weight_conversion" if start in CONVERTED_BY_PEFT else ""
    with pytest.raises(UnsupportedAdapter, match=f"init_lora_weights={start} .*{words}"):
        read_adapter_config(tmp_path)


def test_the_doctor_refuses_what_the_start_refuses(tmp_path: Path) -> None:
    _write_config(
        tmp_path, peft_type="LORA", init_lora_weights="pissa", base_model_name_or_path="x"
    )
    with pytest.raises(UnsupportedAdapter, match="init_lora_weights=pissa"):
        list(check_model(Settings(model=str(tmp_path)), "cpu"))


@pytest.mark.parametrize("kind", MERGED)
def test_every_option_is_respected_or_refused(tmp_path: Path, kind: str) -> None:
    fields = {field.name: field for field in dataclasses.fields(KINDS[kind])}
    refused = REFUSED_OPTIONS.get(kind, set())
    assert refused.isdisjoint(MERGED[kind])
    assert set(fields) - MERGED[kind] == refused, "decide about them in adapters/kinds.py"
    for option in (*refused, "an_option_of_later"):
        for value in (True, "x", 2, [1], {"a": 1}):
            _write_config(tmp_path, **{"peft_type": kind, option: value})
            with pytest.raises(UnsupportedAdapter, match=f"option {option} of {kind}"):
                read_adapter_config(tmp_path)
        for unset in (None, False, [], {}, "none"):
            _write_config(tmp_path, **{"peft_type": kind, option: unset})
            read_adapter_config(tmp_path)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[("r", value) for value in (None, "x", 0, -1, 0.5, True)],
        *[("lora_alpha", value) for value in (None, "x", [], math.nan)],
        *[("alpha_pattern", value) for value in (5, ["q"], {"(": 1}, {"q": "x"}, {"q": None})],
        *[("rank_pattern", value) for value in ({"q": 0}, {"q": 1.5})],
        *[("target_modules", value) for value in ("(", 5, [1], {"a": 1})],
        *[("modules_to_save", value) for value in (5, "x", [None])],
        *[("trainable_token_indices", value) for value in (5, [1, "a"], [10**30], {"e": 5}, [-1])],
    ],
)
def test_an_option_of_a_wrong_type_is_named(tmp_path: Path, option: str, value: Any) -> None:
    """The merge ended in a TypeError, an AttributeError or an error of `re`."""
    _write_config(tmp_path, **{"peft_type": "LORA", option: value})
    with pytest.raises(CheckpointCorrupt, match=rf"json: {option} must be .* \(was "):
        read_adapter_config(tmp_path)


@pytest.mark.parametrize("start", sorted(PLAIN_STARTS))
@pytest.mark.filterwarnings("ignore")
def test_a_plain_initialisation_merges_as_peft_merges_it(
    checkpoints: Callable[[str], Path], tmp_path: Path, start: str
) -> None:
    base = checkpoints("musicgen-small")
    value: Any = {"true": True, "false": False}.get(start, start)
    options: dict[str, Any] = {"eva_config": peft.EvaConfig()} if start == "eva" else {}
    config = peft.LoraConfig(
        r=4, target_modules=["q_proj", "fc1"], init_lora_weights=value, **options
    )
    adapters.write(tmp_path, base, config)
    merged = adapters.weights(adapters.merge(base, tmp_path))
    ours = oracle.load(base)
    apply_to(ours, tmp_path)
    for name, tensor in adapters.weights(ours).items():
        torch.testing.assert_close(tensor, merged[name], rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora"])
@pytest.mark.filterwarnings("ignore")
def test_the_advised_conversion_plays_the_trained_model(
    checkpoints: Callable[[str], Path], tmp_path: Path, start: str
) -> None:
    base = checkpoints("musicgen-small")
    torch.manual_seed(3)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "fc1"], init_lora_weights=start)
    model = peft.get_peft_model(oracle.load(base), config)
    # As PEFT's documentation says, before training.
    model.peft_config["default"].init_lora_weights = True
    model.save_pretrained(tmp_path / "initial")
    model.peft_config["default"].init_lora_weights = start
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn(parameter.shape))
    initial = str(tmp_path / "initial")
    model.save_pretrained(tmp_path / "converted", path_initial_model_for_weight_conversion=initial)
    ours = oracle.load(base)
    apply_to(ours, tmp_path / "converted")
    trained = adapters.weights(model.merge_and_unload())
    for name, tensor in adapters.weights(ours).items():
        torch.testing.assert_close(tensor, trained[name], rtol=1e-4, atol=1e-5, msg=name)
