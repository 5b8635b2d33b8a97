"""Checks of the model: present, complete, of a form that runs here, and its licence.

They read names, headers and configurations, never weights, and import no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from handlers.doctor.finding import Finding
from musicgen import catalog
from musicgen.checkpoints.adapters.kinds import read_adapter_config
from musicgen.checkpoints.address import is_address, is_to_be_fetched
from musicgen.checkpoints.card import HUB_SECONDS
from musicgen.checkpoints.folder_files import weight_files
from musicgen.checkpoints.hub import describe
from musicgen.checkpoints.local import find_licence
from musicgen.checkpoints.locate import (
    find_base_revision,
    find_in_cache,
    find_repository,
    is_adapter,
    locate,
    read_base,
)
from musicgen.checkpoints.packed.choice import choose_packed
from musicgen.errors import CheckpointNotFound, SettingsError, UnknownModel
from musicgen.model.config import MusicGenConfig
from musicgen.settings import Settings

CHECK = "model"


def check_model(settings: Settings, device: str, *, asks_hub: bool = False) -> Iterator[Finding]:
    """Find the model and read its headers; `device` is "cpu" or "cuda:N".

    `asks_hub`: ask the hub for a model not in its cache. Raises: `SettingsError`, a
    `CheckpointError`.
    """
    try:
        yield from _check_model(settings, device, asks_hub=asks_hub)
    except OSError as error:
        raise SettingsError(
            "MUSICGEN_MODEL",
            "cannot be read",
            value=settings.model,
            advice=f"{error.strerror}: {str(error.filename)[:200]}.",
        ) from None


def _check_model(settings: Settings, device: str, *, asks_hub: bool) -> Iterator[Finding]:
    name = settings.model
    if is_to_be_fetched(name):
        verb = "downloaded" if is_address(name) else "unpacked"
        label = name.partition("?")[0]
        yield Finding(CHECK, "ok", f"{label} is {verb} at the start, to {settings.weights_dir}")
    elif (repository := find_repository(name)) is not None:
        yield from _check_repository(repository, settings, device, asks_hub=asks_hub)
    elif is_adapter(Path(name)):
        yield from _check_adapter(Path(name), settings, device, asks_hub=asks_hub)
    else:
        try:
            source = locate(name)
        except UnknownModel as error:
            raise SettingsError("MUSICGEN_MODEL", error.problem, value=name) from None
        check_files(source.folder, device, settings)
        yield Finding(CHECK, "ok", f"{source.label} in {source.folder}")


def check_licence(settings: Settings, *, asks_hub: bool = False) -> Iterator[Finding]:
    """Yield the licence of the weights; `asks_hub` for a model not in the hub's cache."""
    licence = find_licence(settings, asks_hub=asks_hub)
    if licence == catalog.UNKNOWN_LICENCE:
        text = "the licence of the weights is unknown. Read the model's own page before use."
        yield Finding("licence", "warning", text)
    else:
        yield Finding("licence", "ok", catalog.describe_licence(licence))


def check_files(folder: Path, device: str, settings: Settings) -> None:
    """Check a local folder or packed file, from its headers alone.

    Raises: a `CheckpointError`; `SettingsError` for an engine that cannot read a packed file.
    """
    if settings.engine == "musicgen":
        if choose_packed(folder, device, settings.precision, settings.revision) is not None:
            return
    elif folder.is_file():
        problem = "must be musicgen for a packed file"
        raise SettingsError("MUSICGEN_ENGINE", problem, value=settings.engine)
    MusicGenConfig.from_folder(folder)
    weight_files(folder)


def _check_adapter(
    folder: Path, settings: Settings, device: str, *, asks_hub: bool
) -> Iterator[Finding]:
    read_adapter_config(folder)
    base = settings.base_model or read_base(folder)
    yield Finding(CHECK, "ok", f"{settings.model} is an adapter for {base}")
    commit = find_base_revision(folder, settings.base_model, settings.base_revision)
    base_settings = replace(settings, model=base, revision=commit)
    yield from _check_model(base_settings, device, asks_hub=asks_hub)


def _check_repository(
    repository: str, settings: Settings, device: str, *, asks_hub: bool
) -> Iterator[Finding]:
    folder = find_in_cache(repository, settings.revision)
    if folder is not None and is_adapter(folder):
        yield from _check_adapter(folder, settings, device, asks_hub=asks_hub)
        return
    if folder is not None:
        check_files(folder, device, settings)
        yield Finding(CHECK, "ok", f"{repository} in the hub's cache, {folder}")
        return
    from huggingface_hub import constants

    where = f"{repository} is not in the hub's cache {constants.HF_HUB_CACHE}"
    if constants.HF_HUB_OFFLINE:
        raise CheckpointNotFound(
            f"{where}, and HF_HUB_OFFLINE forbids a download. Unset it, correct MUSICGEN_MODEL, or "
            "copy the model there."
        )
    if asks_hub:
        _ask_hub(repository, settings.revision)
    yield Finding(CHECK, "warning", f"{where}: the first start downloads it.")


def _ask_hub(repository: str, revision: str | None) -> None:
    """Raise `CheckpointNotFound` if the hub does not offer the model to this machine."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        HfApi().model_info(repository, revision=revision, timeout=HUB_SECONDS)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise CheckpointNotFound(
            f"{repository} is not in the hub's cache, and the hub does not give it "
            f"({describe(error)}). Check the name, the network, and HF_TOKEN for a private model."
        ) from None
    except Exception as error:
        # The hub's client raises errors of its HTTP library for a missing network.
        raise CheckpointNotFound(
            f"{repository} is not in the hub's cache, and the hub is not reachable "
            f"({type(error).__name__}). Check the network."
        ) from None
