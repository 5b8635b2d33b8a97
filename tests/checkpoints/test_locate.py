"""A model's name becomes a folder: the package's, a local one, or the hub's cache."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from musicgen.catalog import UNKNOWN_LICENCE
from musicgen.checkpoints.locate import locate
from musicgen.errors import CheckpointNotFound, UnknownModel


def test_the_demo_is_part_of_the_package() -> None:
    source = locate("demo")
    assert (source.folder / "model.safetensors").exists()
    assert source.licence == "Apache-2.0"


def test_a_folder_is_taken_as_it_is(checkpoints: Callable[[str], Path]) -> None:
    folder = checkpoints("musicgen-small")
    assert locate(str(folder)).folder == folder


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: cc-by-nc-4.0\ntags:\n- music\n---\n# Model\n", "CC-BY-NC-4.0"),
        ("---\r\ntags: []\r\nlicense: 'mit'\r\n---\r\n", "mit"),
        ("---\nlicense: apache-2.0 # of the weights\n---", "Apache-2.0"),
        ("---\nlicense: other\n---\n", UNKNOWN_LICENCE),
        ("---\nlicense:\n- mit\n---\n", UNKNOWN_LICENCE),
        ("---\ntags: []\n---\nlicense: mit\n", UNKNOWN_LICENCE),
        ("# Model\n---\nlicense: mit\n---\n", UNKNOWN_LICENCE),
        ("license: mit\n", UNKNOWN_LICENCE),
        ("---\nlicense: mit\n", UNKNOWN_LICENCE),
        ("", UNKNOWN_LICENCE),
        (None, UNKNOWN_LICENCE),
    ],
)
def test_the_licence_of_a_folder_is_that_of_its_card(
    tmp_path: Path, card: str | None, licence: str
) -> None:
    """Only the card's front matter is meant: a sentence below it may quote another licence."""
    if card is not None:
        (tmp_path / "README.md").write_bytes(card.encode())
    assert locate(str(tmp_path)).licence == licence


def test_a_card_that_is_no_text_leaves_the_licence_unknown(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(b"---\nlicense: \xff\xfe\n---\n")
    assert locate(str(tmp_path)).licence == UNKNOWN_LICENCE


def test_a_catalog_name_is_not_taken_for_a_folder_that_happens_to_lie_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo").mkdir()
    assert locate("demo").licence == "Apache-2.0"
    assert locate("./demo").folder == Path("demo")


@pytest.mark.parametrize("name", ["small", "facebook/musicgen-small"])
def test_the_hub_s_cache_is_used_offline(
    checkpoints: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert constants.HF_HUB_OFFLINE, "this test must not reach a network"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--facebook--musicgen-small"
    snapshot = repository / "snapshots" / ("0" * 40)
    shutil.copytree(checkpoints("musicgen-small"), snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    source = locate(name)
    assert source.folder == snapshot
    assert source.licence == "CC-BY-NC-4.0"


@pytest.mark.parametrize("name", ["large", "somebody/else"])
def test_what_is_not_in_the_cache_is_said_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointNotFound, match="HF_HUB_OFFLINE"):
        locate(name)


@pytest.mark.parametrize("name", ["huge", ""])
def test_an_unknown_name_lists_the_choices(name: str) -> None:
    with pytest.raises(UnknownModel, match="demo, small, medium"):
        locate(name)
