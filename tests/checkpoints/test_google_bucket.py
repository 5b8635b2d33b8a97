"""Folders of models in Google Cloud Storage."""

from __future__ import annotations

from pathlib import Path

import pytest

from musicgen.checkpoints import google_bucket
from musicgen.errors import CheckpointNotFound
from tests.support.google_storage import GoogleStorage, serve_storage

FILES = {
    "m/config.json": b"{}",
    "m/sub folder/a.bin": b"a" * 100_000,
    "m/": b"",
    "m/z.txt": b"",
    "more/other": b"x",
}


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> GoogleStorage:
    monkeypatch.setattr(google_bucket, "PAUSE_SECONDS", 0.001)
    return GoogleStorage(dict(FILES))


def _fetch(storage: GoogleStorage, folder: Path) -> Path:
    with serve_storage(storage):
        return google_bucket.fetch_folder("gs://music/m", folder, storage.address)


def _read(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {f"m/{path.relative_to(folder)}": path.read_bytes() for path in files}


def test_all_files_of_the_folder_are_fetched_over_interruptions(
    storage: GoogleStorage, tmp_path: Path
) -> None:
    storage.cut = 2
    found = _read(_fetch(storage, tmp_path))
    assert found == {n: c for n, c in FILES.items() if n.startswith("m/") and n != "m/"}
    before = len(storage.calls)
    _fetch(storage, tmp_path)
    assert not any("alt=media" in call for call in storage.calls[before:]), "files are kept"


def test_the_token_of_the_machine_opens_the_bucket(
    storage: GoogleStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.token = "ya29.x"
    with serve_storage(storage):
        monkeypatch.setattr(google_bucket, "_API", storage.address)
        host = storage.address.removeprefix("http://")
        assert _read(google_bucket.fetch_folder("gs://music/m", tmp_path, None, host))


@pytest.mark.parametrize(
    ("address", "files", "told"),
    [
        ("gs://", {}, "must be gs://BUCKET/FOLDER"),
        ("s3://music/m", {}, "must be gs://BUCKET/FOLDER"),
        ("gs://music/empty", {}, "has no files"),
        ("gs://none/m", {}, "HTTP 404.*service account"),
        ("gs://music/m", {"m/../../x": b"x"}, "outside its folder"),
    ],
)
def test_a_folder_that_cannot_be_fetched_is_told(
    storage: GoogleStorage,
    tmp_path: Path,
    address: str,
    files: dict[str, bytes],
    told: str,
) -> None:
    storage.files |= files
    with serve_storage(storage), pytest.raises(CheckpointNotFound, match=told):
        google_bucket.fetch_folder(address, tmp_path, storage.address)


def test_a_file_that_never_ends_right_is_an_error(storage: GoogleStorage, tmp_path: Path) -> None:
    storage.cut = 100
    with pytest.raises(CheckpointNotFound, match="could not be fetched"):
        _fetch(storage, tmp_path)
    assert not (tmp_path / "sub folder/a.bin").exists()
