"""Model names to local folders, by the catalog, the disk or the Hugging Face hub."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from musicgen import catalog
from musicgen.checkpoints.adapters.kinds import ADAPTER_CONFIG
from musicgen.checkpoints.address import is_hub_name
from musicgen.checkpoints.card import CARD, combine_licences, read_licence
from musicgen.checkpoints.hub import download_snapshot
from musicgen.checkpoints.hub_cache import find_with_commit, list_commits
from musicgen.checkpoints.packed.format import SUFFIX, find_packed_files, read_header
from musicgen.checkpoints.shared_cache import find_shared
from musicgen.errors import CheckpointIncomplete, CheckpointNotFound, UnknownModel

_SMALL_FILES = ("*.json", "spiece.model")
_WEIGHTS_BY_PREFERENCE = ("*.safetensors", "*.bin")
_DEMO_FOLDER = Path(__file__).parents[1] / "demo" / "checkpoint"


@dataclass(frozen=True)
class Source:
    """A checkpoint on this machine.

    `name`: the caller's name for it. `folder`: its folder, or a packed file. `title`: the model in
    a packed file. `adapter`: the folder of an adapter to merge. `packed_from`: the revision of
    a packed file.
    """

    name: str
    folder: Path
    licence: str
    title: str | None = None
    adapter: Path | None = None
    packed_from: str | None = None

    @property
    def revision(self) -> str | None:
        """Commit on the hub, known for the hub's cache and for files packed from it."""
        if self.packed_from is not None or self.folder.parent.name != "snapshots":
            return self.packed_from
        return self.folder.name

    @property
    def label(self) -> str:
        """Name in results and tags; of a folder only the last part, to keep its path private."""
        own = self.adapter or self.folder
        if self.title is not None or self.name != str(own):
            return self.title or self.name
        return own.resolve().name


def locate(
    name: str,
    revision: str | None = None,
    base: str | None = None,
    base_revision: str | None = None,
) -> Source:
    """Find the folder of a model, downloading it to the hub's cache if necessary.

    Names are tried in this order: a name of the catalog (write ./small for a folder called small),
    an existing folder or packed file, and a hub name with one slash, at `revision`. A model in
    RunPod's cache is used where it lies. HF_HOME, HF_TOKEN and HF_HUB_OFFLINE work as in
    huggingface_hub. An adapter needs a base model: `base` at `base_revision`, or else the model and
    commit in the adapter's own configuration.

    Raises: `UnknownModel`, `CheckpointNotFound`.
    """
    source = locate_own(name, revision)
    folder = source.folder
    if not is_adapter(folder):
        return source
    base_name = base or read_base(folder)
    try:
        base_source = locate(base_name, find_base_revision(folder, base, base_revision))
    except (UnknownModel, CheckpointNotFound) as error:
        raise CheckpointNotFound(
            f"the base model {base_name} of the adapter {source.label} is not available: name a "
            f"checkpoint with MUSICGEN_BASE_MODEL ({error})"
        ) from error
    licence = combine_licences(source.licence, base_source.licence)
    return Source(source.name, base_source.folder, licence, adapter=folder)


def get_public_name(name: str) -> str:
    """Return the name of a model for callers, without loading it and without its path."""
    entry = catalog.find(name)
    if entry is not None:
        return entry.name
    return Path(name.partition("?")[0]).name if "://" in name or Path(name).exists() else name


def find_repository(name: str) -> str | None:
    """Return the hub name of a model that is read from the hub, or None for any other one."""
    if name and name not in catalog.CATALOG and Path(name).exists():
        return None
    entry = catalog.find(name)
    if entry is not None:
        return None if entry.source == "package" else entry.source
    if catalog.find_convertible(name) is not None:
        return None
    return name if is_hub_name(name) else None


def find_in_cache(repository: str, revision: str | None) -> Path | None:
    """Return the folder of a complete model in the hub's cache, without a network, or None.

    Raises: `CheckpointNotFound` offline, for several commits in the cache and no `revision`.
    """
    from huggingface_hub import constants

    try:
        return find_with_commit(repository, revision, _find_cached)
    except CheckpointNotFound:
        if constants.HF_HUB_OFFLINE and not revision and list_commits(repository)[1:]:
            raise
        return None


def _find_cached(repository: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    if (shared := find_shared(repository, revision)) is not None:
        return shared
    try:
        folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except Exception as error:
        # Versions of huggingface_hub have different errors for an absent or damaged cache.
        raise CheckpointNotFound(f"{repository} is not in the cache") from error
    if not any(any(folder.glob(pattern)) for pattern in _WEIGHTS_BY_PREFERENCE):
        raise CheckpointNotFound(f"{repository} has no weights in the cache")
    return folder


def locate_own(name: str, revision: str | None = None) -> Source:
    """Find a model's own folder as `locate` does, an adapter's without its base model.

    Raises: `UnknownModel`; `CheckpointNotFound`, also for a model that must be converted first.
    """
    path = Path(name)
    if name and name not in catalog.CATALOG and path.exists():
        packed = [path] if path.is_file() else find_packed_files(path)
        if not packed:
            return Source(str(path), path, read_licence(path))
        manifest = read_header(packed[0])[1]
        licence = manifest.licence
        if licence == catalog.UNKNOWN_LICENCE and path.is_dir():
            # A packed file may be older than the card beside it.
            licence = read_licence(path)
        return Source(str(path), path, licence, manifest.source, packed_from=manifest.revision)
    entry = catalog.find(name)
    if entry is not None and entry.source == "package":
        return Source(entry.name, _DEMO_FOLDER, entry.licence)
    if entry is not None:
        return Source(entry.name, _from_hub(entry.source, revision), entry.licence)
    if (raw := catalog.find_convertible(name)) is not None:
        raise CheckpointNotFound(catalog.describe_conversion(raw))
    if is_hub_name(name):
        folder = _from_hub(name, revision)
        return Source(name, folder, read_licence(folder))
    if "/" in name or name.endswith(SUFFIX):
        advice = "Check the path, or choose a name from `musicgen models`."
        raise UnknownModel("model", "is not an existing folder or file", value=name, advice=advice)
    others = ["an existing folder", "a packed file", "a hub name such as OWNER/NAME"]
    raise UnknownModel.for_choice("model", name, catalog.CATALOG, others=others)


def is_adapter(folder: Path) -> bool:
    """Return whether a folder holds an adapter and no whole model."""
    is_whole = any(folder.glob("model*.safetensors*")) or any(folder.glob("pytorch_model*"))
    return (folder / ADAPTER_CONFIG).is_file() and not is_whole


def read_base(folder: Path) -> str:
    """Read the name of an adapter's base model. Raises: `CheckpointIncomplete`."""
    try:
        base = json.loads((folder / ADAPTER_CONFIG).read_bytes())["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError):
        base = None
    if not isinstance(base, str) or not base:
        raise CheckpointIncomplete(
            f"{folder / ADAPTER_CONFIG} names no base model: set MUSICGEN_BASE_MODEL"
        )
    return base


def find_base_revision(folder: Path, base: str | None, revision: str | None) -> str | None:
    """Return the commit of an adapter's base model: `revision`, or the adapter's own choice.

    `base`: a base model chosen in place of the adapter's own.
    """
    if revision or base:
        return revision
    own = json.loads((folder / ADAPTER_CONFIG).read_bytes()).get("revision")
    # PEFT writes main for a base model whose commit nobody named.
    return own if isinstance(own, str) and own not in ("", "main") else None


def _from_hub(repository: str, revision: str | None) -> Path:
    return find_with_commit(repository, revision, _download)


def _download(repository: str, revision: str | None) -> Path:
    if (shared := find_shared(repository, revision)) is not None:
        return shared
    for weights in _WEIGHTS_BY_PREFERENCE:
        # The card is fetched beside the weights; a repository without one is complete too.
        folder = download_snapshot(repository, revision, [*_SMALL_FILES, CARD, weights])
        if any(folder.glob(weights)):
            break
    return folder
