"""Files and licence of a model on this machine, without a download. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from musicgen import catalog
from musicgen.checkpoints.address import is_to_be_fetched
from musicgen.checkpoints.card import ask_hub, combine_licences, read_licence
from musicgen.checkpoints.locate import (
    Source,
    find_base_revision,
    find_in_cache,
    find_repository,
    is_adapter,
    locate_own,
    read_base,
)
from musicgen.errors import CheckpointError, UnknownModel
from musicgen.settings import Settings


def find_licence(settings: Settings, *, asks_hub: bool = False) -> str:
    """Return the licence of the model of `settings`; unknown if no file here tells it.

    `asks_hub`: ask the hub about a model outside its cache.
    """
    try:
        return _find_licence(settings.model, settings, settings.revision, asks_hub)
    except (UnknownModel, CheckpointError, OSError):
        # A model without its files: the check of the model tells the fault.
        return catalog.UNKNOWN_LICENCE


def find_source(name: str, settings: Settings, revision: str | None = None) -> Source | None:
    """Return a model's own files on this machine, or None before their download.

    Raises: `UnknownModel`, a `CheckpointError`, OSError.
    """
    if is_to_be_fetched(name):
        # Imported late: it brings the compression modules.
        from musicgen.checkpoints.download import find_fetched

        folder = find_fetched(name, settings)
        return None if folder is None else locate_own(str(folder))
    repository = find_repository(name)
    if repository is None:
        return locate_own(name)
    folder = find_in_cache(repository, revision)
    if folder is None:
        return None
    entry = catalog.find(name)
    return Source(name, folder, entry.licence if entry else read_licence(folder))


def _find_licence(name: str, settings: Settings, revision: str | None, asks_hub: bool) -> str:
    entry = None if name not in catalog.CATALOG and Path(name).exists() else catalog.find(name)
    if entry is not None:
        return entry.licence
    source = find_source(name, settings, revision)
    if source is None:
        repository = None if is_to_be_fetched(name) else find_repository(name)
        return ask_hub(repository, revision) if asks_hub and repository else catalog.UNKNOWN_LICENCE
    if not is_adapter(source.folder):
        return source.licence
    base = settings.base_model or read_base(source.folder)
    commit = find_base_revision(source.folder, settings.base_model, settings.base_revision)
    return combine_licences(source.licence, _find_licence(base, settings, commit, asks_hub))
