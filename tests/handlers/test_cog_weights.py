"""COG_WEIGHTS in every form: what is loaded in the end."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers.cog_weights import obtain_model
from musicgen.errors import CheckpointError, CheckpointNotFound, UnsupportedCheckpoint
from tests.support.web_neighbour import LOOPBACK, Neighbour, web_neighbour


def _archive(prefix: str = "") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tape:
        member = tarfile.TarInfo(f"{prefix}config.json")
        member.size = 2
        tape.addfile(member, io.BytesIO(b"{}"))
    return packed.getvalue()


@pytest.fixture
def neighbour() -> Iterator[Neighbour]:
    with web_neighbour(_archive()) as known:
        yield known


@pytest.mark.parametrize("name", ["small", "facebook/musicgen-small", "demo"])
def test_names_are_left_to_the_loader(tmp_path: Path, name: str) -> None:
    assert obtain_model(name, tmp_path) == name
    assert not list(tmp_path.iterdir())


def test_a_folder_is_loaded_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").mkdir()
    monkeypatch.chdir(tmp_path)
    assert obtain_model("weights", tmp_path / "new") == str(tmp_path / "weights")


def test_a_local_archive_is_unpacked_and_kept(tmp_path: Path) -> None:
    archive = tmp_path / "tuned.tar.gz"
    archive.write_bytes(_archive("nested/"))
    model = Path(obtain_model(str(archive), tmp_path / "new"))
    assert (model.name, model.joinpath("config.json").read_bytes()) == ("nested", b"{}")
    assert archive.exists()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/tuned.tar.gz?x=1", "tuned"),
        ("/", "weights"),
        ("/..%2f..%2fevil.zip", "2f"),
        ("/archive", "archive"),
        ("/fetched.tar", "fetched"),
    ],
)
def test_an_archive_behind_a_url_is_fetched_and_unpacked(
    tmp_path: Path, neighbour: Neighbour, path: str, name: str
) -> None:
    model = Path(obtain_model(neighbour.url + path, tmp_path, (LOOPBACK,)))
    assert model.name == name
    assert model.parent.parent == tmp_path.resolve()
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_a_url_that_gives_nothing_is_told_without_its_secret(
    tmp_path: Path, neighbour: Neighbour
) -> None:
    with pytest.raises(CheckpointNotFound) as caught:
        obtain_model(f"{neighbour.url}/a.tar?signature=secret", tmp_path)
    assert f"COG_WEIGHTS: {neighbour.url}/a.tar " in str(caught.value)
    assert "leads to an address that is not public" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "input_audio" not in str(caught.value)
    assert not neighbour.asked


def test_what_is_no_archive_is_told_and_deleted(tmp_path: Path, neighbour: Neighbour) -> None:
    neighbour.clip = b"<html>"
    with pytest.raises(UnsupportedCheckpoint, match=r"a\.tar is neither a tar nor a zip"):
        obtain_model(f"{neighbour.url}/a.tar", tmp_path, (LOOPBACK,))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_path_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file or folder"):
        obtain_model(str(tmp_path / "nothing"), tmp_path)
