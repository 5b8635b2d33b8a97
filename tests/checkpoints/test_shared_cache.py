"""RunPod's cached models are used where they lie, whatever else the cache has."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from musicgen.checkpoints import shared_cache
from musicgen.checkpoints.locate import find_in_cache, locate
from musicgen.errors import CheckpointNotFound
from tests.support import ROOT
from tests.support.cog_server import DEMO

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "models--facebook--musicgen-small"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with the demo's weights as `small`, laid out as huggingface_hub does: with links."""
    folder = tmp_path / "volume" / NAME
    blobs, snapshot = folder / "blobs", folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    shutil.copytree(DEMO, blobs)
    for blob in blobs.iterdir():
        (snapshot / blob.name).symlink_to(Path("../../blobs") / blob.name)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(shared_cache, "RUNPOD_CACHE", folder.parent)
    return folder


def test_a_cached_model_is_used(cache: Path) -> None:
    for name in ("small", "facebook/musicgen-small"):
        for revision in (None, "main", COMMIT):
            source = locate(name, revision)
            assert source.folder == cache / "snapshots" / COMMIT
            assert (source.revision, source.label) == (COMMIT, "small")
    assert find_in_cache("facebook/musicgen-small", None) == cache / "snapshots" / COMMIT


def test_a_cache_without_refs_is_used(cache: Path) -> None:
    shutil.rmtree(cache / "refs")
    assert locate("small").revision == COMMIT
    cache.rename(cache.with_name("models--Facebook--MusicGen-small"))
    assert locate("small").revision == COMMIT


def test_another_revision_or_a_part_of_a_model_is_not_used(cache: Path) -> None:
    with pytest.raises(CheckpointNotFound):
        locate("small", "1" * 40)
    with pytest.raises(CheckpointNotFound):
        locate("medium")
    (cache / "blobs" / "model.safetensors").unlink()
    with pytest.raises(CheckpointNotFound):
        locate("small")


def test_weights_of_which_a_part_is_still_on_its_way_are_not_used(cache: Path) -> None:
    """The worker failed at its start, where it could have downloaded the model."""
    snapshot = cache / "snapshots" / COMMIT
    parts = {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}
    index = snapshot / "model.safetensors.index.json"
    other = snapshot / "pytorch_model.bin.index.json"
    other.write_text(json.dumps({"weight_map": {"a": "pytorch_model-1-of-1.bin"}}))
    assert locate("small").folder == snapshot
    (snapshot / "model.safetensors").rename(snapshot / parts["a"])
    index.write_text(json.dumps({"weight_map": parts}))
    with pytest.raises(CheckpointNotFound):
        locate("small")
    (snapshot / parts["b"]).write_bytes(b"")
    assert locate("small").folder == snapshot
    index.write_text("{")
    with pytest.raises(CheckpointNotFound):
        locate("small")


def test_the_worker_of_runpod_starts_with_it(cache: Path, tmp_path: Path) -> None:
    script = (
        "import runpy, sys; from pathlib import Path;"
        "from musicgen.checkpoints import shared_cache;"
        f"shared_cache.RUNPOD_CACHE = Path({str(cache.parent)!r});"
        "sys.argv = ['runpod_handler.py', '--test_input',"
        ' \'{"input": {"prompt": "x", "duration": 0.2}}\'];'
        "runpy.run_path('runpod_handler.py', run_name='__main__')"
    )
    own = {"MUSICGEN_MODEL": "small", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    env, command = os.environ | own, [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "'model': 'small'" in done.stdout and "CC-BY-NC-4.0" in done.stdout
