"""Files and bases of a conversion that are refused, and a disk that is full."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from musicgen.checkpoints.audiocraft.convert import convert
from musicgen.checkpoints.audiocraft.settings import RunSettings
from musicgen.checkpoints.folder_files import SAFETENSORS
from musicgen.checkpoints.locate import locate
from musicgen.checkpoints.pack import pack
from musicgen.errors import CheckpointCorrupt, DiskFull, UnsupportedCheckpoint
from tests.support import adapters, disks
from tests.support import audiocraft as toy
from tests.support.audiocraft_results import write_case

FUSED = "transformer.layers.0.self_attn.in_proj_weight"


class _Program:
    """What runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (9,)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    toy.write_base(tmp_path / "base")
    write_case("base", tmp_path / "files")
    return tmp_path / "base"


def _change_weights(change: Callable[[dict[Any, Any]], object]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        content = torch.load(path, weights_only=True)
        change(content["best_state"])
        torch.save(content, path)

    return write


def _add_name(weights: dict[Any, Any]) -> None:
    weights[1] = torch.ones(2)


def _make_scalar(weights: dict[Any, Any]) -> None:
    weights[FUSED] = torch.tensor(1.0)


def _make_sparse(weights: dict[Any, Any]) -> None:
    weights[FUSED] = weights[FUSED].to_sparse()


def _write_program(path: Path) -> None:
    torch.save({"best_state": _Program()}, path)


def _write_text(path: Path) -> None:
    path.write_text("weights")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_change_weights(_add_name), "holds no weights under best_state"),
        (_change_weights(_make_sparse), "holds no weights under best_state"),
        (_change_weights(_make_scalar), f"{FUSED} is not a tensor of MusicGen"),
        (_write_program, "holds more than weights, or is damaged"),
        (_write_text, "is truncated or not a file of PyTorch's weights"),
    ],
)
def test_files_of_other_content_are_refused_in_one_line(
    base: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    """PyTorch's own text has several lines, and advises to run what the file holds."""
    damage(tmp_path / "files" / "state_dict.bin")
    with pytest.raises((CheckpointCorrupt, UnsupportedCheckpoint), match=message) as caught:
        convert(tmp_path / "files", locate(str(base)), tmp_path / "tuned")
    assert "\n" not in str(caught.value) and "weights_only" not in str(caught.value)


@pytest.mark.filterwarnings("ignore")
def test_an_adapter_is_no_base(base: Path, tmp_path: Path) -> None:
    """Its changes of the text encoder were left out without a word."""
    peft = pytest.importorskip("peft")
    adapters.write(tmp_path / "adapter", base, peft.LoraConfig(r=2, target_modules=["q"]))
    with pytest.raises(UnsupportedCheckpoint, match=r"^adapter is an adapter, .* with --base"):
        convert(tmp_path / "files", locate(str(tmp_path / "adapter")), tmp_path / "tuned")


def test_a_packed_file_is_no_base(base: Path, tmp_path: Path) -> None:
    packed = tmp_path / "base.packed"
    pack(locate(str(base)), "plain-float32", packed)
    with pytest.raises(UnsupportedCheckpoint, match=r"is a packed file: .* with --base"):
        convert(tmp_path / "files", locate(str(packed)), tmp_path / "tuned")


def test_a_full_disk_is_named_and_nothing_is_left(base: Path, tmp_path: Path) -> None:
    """safetensors raises an error of its own."""
    (base / "tokenizer.json").unlink()
    (base / "spiece.model").unlink()
    before = sorted(path.name for path in tmp_path.iterdir())

    def make() -> None:
        with pytest.raises(DiskFull, match="no room in"):
            convert(tmp_path / "files", locate(str(base)), tmp_path / "tuned")

    disks.in_child(make, before=disks.limit_file_size)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_every_file_can_be_read_by_a_server_of_another_user(base: Path, tmp_path: Path) -> None:
    """safetensors writes files that only their owner can read."""
    done = convert(tmp_path / "files", locate(str(base)), tmp_path / "tuned")
    assert (done.folder / SAFETENSORS).stat().st_mode & 0o777 == 0o644


def test_settings_that_multiply_themselves_are_refused() -> None:
    """The message about such a setting took all memory."""
    lists = [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]" for at in range(1, 12)]
    for text in ("\n".join(["a0: &a0 x", *lists]), "a: &a [*a]"):
        with pytest.raises(CheckpointCorrupt, match="holds no settings"):
            RunSettings.from_yaml("state_dict.bin", text)
    assert RunSettings.from_yaml("x", "a: &a [1]\nb: *a").get("b") == [1]
