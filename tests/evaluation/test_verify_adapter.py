"""`musicgen verify` compares an adapter's merge with PEFT and transformers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from handlers.cli import main as cli
from musicgen.checkpoints.adapters import rules
from musicgen.checkpoints.adapters.deltas import Parts, Place
from musicgen.checkpoints.locate import locate
from musicgen.errors import MergeDiffers
from musicgen.evaluation.peft_merge import compare_weights, load_merged_by_peft
from musicgen.settings import Settings
from tests.support import adapters

peft = pytest.importorskip("peft")


@pytest.fixture
def adapter(checkpoints: Callable[[str], Path], tmp_path: Path) -> Path:
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "fc1"], use_dora=True)
    adapters.write(tmp_path / "tuned", checkpoints("musicgen-small"), config)
    return tmp_path / "tuned"


def _verify(adapter: Path) -> int:
    return cli.main(["verify", "--model", str(adapter), "--duration", "0.3"])


def test_an_adapter_is_held_to_peft(
    adapter: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        assert _verify(adapter) == 0
    assert capsys.readouterr().out.startswith("identical: ")
    assert f"peft {peft.__version__} merges alike: " in caplog.text


def test_another_merge_is_found(
    adapter: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault is put into this project's arithmetic: alpha is forgotten."""

    def forget_alpha(base: torch.Tensor, parts: Parts, place: Place) -> torch.Tensor:
        return base + parts["lora_B.weight"] @ parts["lora_A.weight"]

    for rule in rules.list_rules("LORA"):
        if "lora_A.weight" in rule.parts:
            monkeypatch.setitem(rule.merges, "weight", forget_alpha)
    assert _verify(adapter) == 1
    error = capsys.readouterr().err
    assert "peft's merge of" in error and "differs in" in error and "decoder.layers" in error


def test_a_weight_that_cannot_be_compared_is_named(adapter: Path) -> None:
    """With other names in transformers no weight would be compared, and none would differ."""
    with pytest.raises(MergeDiffers, match=r"merge lacks 6 weights that .*tuned changes"):
        compare_weights(locate(str(adapter)), torch.nn.Linear(2, 2))


def test_a_refused_adapter_is_refused_here_too(
    adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapters.change_config(adapter, init_lora_weights="pissa")
    assert _verify(adapter) == 1
    assert "init_lora_weights=pissa" in capsys.readouterr().err


def test_a_number_that_is_none_is_a_difference(
    adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    for name, tensor in tensors.items():
        if "fc1.lora_A" in name:
            tensor[0, 0] = float("nan")
    save_file(tensors, path)
    assert _verify(adapter) == 1
    assert capsys.readouterr().err.strip()
    # This engine refuses such weights before PEFT is asked.
    with pytest.raises(MergeDiffers, match=r"fc1\.weight"):
        load_merged_by_peft(locate(str(adapter)), Settings(precision="float32"))


def test_int8_is_refused_in_one_line(adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["verify", "--model", str(adapter), "--duration", "0.3", "--precision", "int8"]
    assert cli.main(command) == cli.EXIT_BAD_INPUT
    assert "cannot be int8" in capsys.readouterr().err


def test_a_missing_peft_is_one_line(adapter: Path) -> None:
    code = (
        "import sys; sys.modules['peft'] = None; from handlers.cli.main import main; "
        f"sys.exit(main(['verify', '--model', {str(adapter)!r}, '--duration', '0.3']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == cli.EXIT_MISCONFIGURED
    assert "needs the package peft" in done.stderr and "Traceback" not in done.stderr
