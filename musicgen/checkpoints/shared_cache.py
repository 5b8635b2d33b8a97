"""Models that the platform has put on the machine: RunPod's cached models.

CACHE/models--OWNER--NAME/refs/main                  the commit of a branch
CACHE/models--OWNER--NAME/snapshots/COMMIT/...       its files

It is the layout of the hub's own cache. It is only read, and huggingface_hub is not asked: the
folder may be read-only and may lack refs. Source: docs.runpod.io, cached models.
"""

from __future__ import annotations

import json
from pathlib import Path

RUNPOD_CACHE = Path("/runpod-volume/huggingface-cache/hub")
_WEIGHTS = ("*.safetensors", "*.bin")


def find_shared(repository: str, revision: str | None) -> Path | None:
    """Return the folder of a complete model in RunPod's cache, or None.

    `revision`: a branch or a commit, None for the one that is there.
    """
    name = f"models--{repository.replace('/', '--')}".lower()
    try:
        folders = [path for path in RUNPOD_CACHE.iterdir() if path.name.lower() == name]
    except OSError:
        return None
    for folder in folders:
        snapshot = _find_snapshot(folder, revision)
        if snapshot is not None and _is_complete(snapshot):
            return snapshot
    return None


def _find_snapshot(folder: Path, revision: str | None) -> Path | None:
    snapshots = folder / "snapshots"
    try:
        commit = (folder / "refs" / (revision or "main")).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        commit = revision or ""
    if commit:
        return snapshots / commit if (snapshots / commit).is_dir() else None
    found = [path for path in snapshots.glob("*") if path.is_dir()]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def _is_complete(snapshot: Path) -> bool:
    """Return whether a snapshot has weights and no file of it is missing."""
    files = list(snapshot.iterdir())
    # A link without its blob does not exist, and a file still on its way has no link.
    has_all = all(file.exists() for file in files)
    has_all = has_all and all(map(_has_parts, snapshot.glob("*.index.json")))
    return has_all and any(any(snapshot.glob(pattern)) for pattern in _WEIGHTS)


def _has_parts(index: Path) -> bool:
    """Return whether all parts of the weights are there, or no part of PyTorch's form is.

    The loader then takes the other form.
    """
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    present = {(index.parent / str(name)).is_file() for name in names}
    return present == {True} or (present == {False} and index.name.startswith("pytorch_model"))
