"""Resolution of the automatic settings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from musicgen.checkpoints.locate import locate
from musicgen.engine import loading
from musicgen.engine.loading import load_engine, resolve_precision
from musicgen.errors import SettingsError
from musicgen.settings import Settings
from tests.support import engines, oracle


def test_auto_is_the_fastest_that_costs_nothing_to_hear(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_precision("auto", "cpu") == "int8"
    assert resolve_precision("auto", "cuda:0") == "bfloat16"
    monkeypatch.setattr(loading, "has_int8_kernels", lambda: False)
    assert resolve_precision("auto", "cpu") == "float32"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_precision_that_is_named_is_taken(precision: str) -> None:
    assert {resolve_precision(precision, device) for device in ("cpu", "cuda:0")} == {precision}


def test_int8_is_refused_where_it_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="int8 runs on CPUs only"):
        resolve_precision("int8", "cuda:0")
    monkeypatch.setattr(loading, "has_int8_kernels", lambda: False)
    with pytest.raises(SettingsError, match="this PyTorch has no int8 kernels"):
        resolve_precision("int8", "cpu")


def test_the_oracle_stays_in_float32() -> None:
    """transformers has no int8 kernels of this project, so auto must not choose int8 there."""
    engine = load_engine(locate("demo").folder, "demo", Settings(engine="transformers"))
    assert (engine.name, engine.precision) == ("transformers", "float32")


@pytest.mark.parametrize(
    ("part", "field", "activation"),
    [
        ("decoder", "activation_function", "quick_gelu"),
        ("decoder", "activation_function", "tanh"),
        ("text_encoder", "feed_forward_proj", "tanh"),
    ],
)
@pytest.mark.parametrize("engine", ["musicgen", "transformers"])
def test_an_activation_that_only_transformers_has_runs_there(
    checkpoints: Callable[[str], Path],
    tmp_path: Path,
    part: str,
    field: str,
    activation: str,
    engine: str,
) -> None:
    """Guards a traceback from the check of the memory, instead of the other engine."""
    folder = tmp_path / "odd"
    shutil.copytree(checkpoints("musicgen-small"), folder)
    config = json.loads((folder / "config.json").read_text())
    config[part][field] = activation
    if part == "text_encoder":
        config[part]["dense_act_fn"] = activation
    (folder / "config.json").write_text(json.dumps(config))
    loaded = load_engine(folder, "odd", Settings(engine=engine, precision="float32"))
    assert loaded.name == "transformers"
    prompt = engines.PROMPTS[0]
    expected = oracle.greedy_tokens(
        oracle.load(folder), oracle.load_tokenizer(folder), [prompt], 10, 3.0
    )
    assert torch.equal(engines.codes(loaded, [prompt], 10, engines.greedy()), expected)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_transformers_makes_clips_shorter_than_its_delay(
    checkpoints: Callable[[str], Path], frames: int
) -> None:
    """Guards a traceback, or tokens without the delay pattern."""
    folder = checkpoints("musicgen-small")
    loaded = load_engine(folder, "toy", Settings(engine="transformers", precision="float32"))
    prompt = engines.PROMPTS[0]
    longer = engines.codes(loaded, [prompt], 3, engines.greedy())
    found = engines.codes(loaded, [prompt], frames, engines.greedy())
    assert torch.equal(found, longer[..., :frames])
