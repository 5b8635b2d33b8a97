"""A base model that was fetched by its commit is found offline without naming the commit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants

from handlers.doctor.model_checks import check_model
from musicgen.checkpoints.local import find_licence
from musicgen.checkpoints.locate import locate
from musicgen.errors import CheckpointNotFound
from musicgen.settings import Settings
from tests.support.hub_mirror import COMMIT, hub_mirror

NAME, OTHER = "somebody/base", "f" * 40
CARD = "---\nlicense: mit\n---\n"


@pytest.fixture(scope="module")
def fetched(checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hub's cache after huggingface_hub itself fetched the model by its commit."""
    folder = tmp_path_factory.mktemp("hub")
    source = checkpoints("musicgen-small")
    files = {path.name: path.read_bytes() for path in source.iterdir() if path.is_file()}
    code = f"from huggingface_hub import snapshot_download as s; s({NAME!r}, revision={COMMIT!r})"
    with hub_mirror({NAME: {**files, "README.md": CARD.encode()}}) as mirror:
        env = {"HF_ENDPOINT": mirror.url, "HF_HUB_CACHE": str(folder), "HF_HUB_OFFLINE": "0"}
        subprocess.run([sys.executable, "-c", code], env=os.environ | env, check=True)
    return folder


@pytest.fixture
def cache(fetched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "hub"
    shutil.copytree(fetched, folder, symlinks=True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    repository = folder / "models--somebody--base"
    assert not (repository / "refs" / "main").exists(), "the hub's client writes no ref"
    return repository


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    config = f'{{"peft_type": "LORA", "base_model_name_or_path": "{NAME}", "revision": REV}}'
    (folder / "adapter_config.json").write_text(config.replace("REV", "null"))
    (folder / "README.md").write_text(CARD)
    return folder


def _set_revision(adapter: Path, commit: str) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(path.read_text().replace("null", f'"{commit}"'))


def test_the_only_commit_is_taken(cache: Path, adapter: Path) -> None:
    assert locate(NAME).folder == cache / "snapshots" / COMMIT
    source = locate(str(adapter))
    assert (source.folder, source.licence) == (cache / "snapshots" / COMMIT, "mit")
    settings = Settings(model=str(adapter))
    assert find_licence(settings) == "mit"
    assert [found.state for found in check_model(settings, "cpu")] == ["ok", "ok"]


def test_a_commit_must_be_named_among_several(cache: Path, adapter: Path) -> None:
    other = cache / "snapshots" / OTHER
    shutil.copytree(cache / "snapshots" / COMMIT, other)
    settings = Settings(model=str(adapter))
    for start in (lambda: locate(str(adapter)), lambda: list(check_model(settings, "cpu"))):
        with pytest.raises(CheckpointNotFound, match=f"{COMMIT}, {OTHER}.*MUSICGEN_BASE_REVISION"):
            start()
    assert locate(str(adapter), base_revision=OTHER).folder == other
    assert locate(str(adapter), base=NAME, base_revision=OTHER).folder == other
    chosen = replace(settings, base_revision=OTHER)
    assert [found.state for found in check_model(chosen, "cpu")] == ["ok", "ok"]
    _set_revision(adapter, OTHER)
    assert locate(str(adapter)).folder == other
    assert locate(str(adapter), base_revision=COMMIT).folder == cache / "snapshots" / COMMIT
    # The adapter's commit belongs to its own base model, not to another one.
    with pytest.raises(CheckpointNotFound, match="several commits"):
        locate(str(adapter), base=NAME)


def test_a_branch_that_peft_names_by_default_is_no_commit(cache: Path, adapter: Path) -> None:
    _set_revision(adapter, "main")
    assert locate(str(adapter)).folder == cache / "snapshots" / COMMIT


def test_a_known_main_stays_the_choice(cache: Path, adapter: Path) -> None:
    shutil.copytree(cache / "snapshots" / COMMIT, cache / "snapshots" / OTHER)
    (cache / "refs").mkdir(exist_ok=True)
    (cache / "refs" / "main").write_text(OTHER)
    assert locate(str(adapter)).folder == cache / "snapshots" / OTHER
