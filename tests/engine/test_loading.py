"""Resolution of the automatic settings."""

from __future__ import annotations

import pytest

from musicgen.checkpoints.locate import locate
from musicgen.engine import loading
from musicgen.engine.loading import load_engine, resolve_precision
from musicgen.errors import SettingsError
from musicgen.settings import Settings


def test_auto_is_the_fastest_that_costs_nothing_to_hear(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_precision("auto", "cpu") == "int8"
    assert resolve_precision("auto", "cuda:0") == "bfloat16"
    monkeypatch.setattr(loading, "choose_packing", lambda precision: None)
    assert resolve_precision("auto", "cpu") == "float32"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_precision_that_is_named_is_taken(precision: str) -> None:
    assert {resolve_precision(precision, device) for device in ("cpu", "cuda:0")} == {precision}


def test_int8_is_refused_where_it_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="int8 runs on CPUs only"):
        resolve_precision("int8", "cuda:0")
    monkeypatch.setattr(loading, "choose_packing", lambda precision: None)
    with pytest.raises(SettingsError, match="this PyTorch has no int8 kernels"):
        resolve_precision("int8", "cpu")


def test_the_oracle_stays_in_float32() -> None:
    """transformers has no int8 kernels of this project, so auto must not choose int8 there."""
    engine = load_engine(locate("demo").folder, "demo", Settings(engine="transformers"))
    assert (engine.name, engine.precision) == ("transformers", "float32")
