"""Checks of the model: present, complete, of a form that runs here, and its licence.

They read names, headers and configurations, never weights, and import no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from handlers.doctor.finding import Finding
from musicgen import catalog
from musicgen.checkpoints.address import is_address, is_to_be_fetched
from musicgen.checkpoints.folder_files import weight_files
from musicgen.checkpoints.locate import (
    ADAPTER_CONFIG,
    Source,
    find_in_cache,
    find_repository,
    locate,
    read_base,
)
from musicgen.checkpoints.packed.choice import choose_packed
from musicgen.errors import CheckpointError, CheckpointNotFound, SettingsError, UnknownModel
from musicgen.model.config import MusicGenConfig
from musicgen.settings import Settings

CHECK = "model"
HUB_SECONDS = 3.0


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
        yield _check_repository(repository, settings, device, asks_hub=asks_hub)
    elif is_adapter(Path(name)):
        base = settings.base_model or read_base(Path(name))
        yield Finding(CHECK, "ok", f"{name} is an adapter for {base}")
        yield from _check_model(replace(settings, model=base), device, asks_hub=asks_hub)
    else:
        try:
            source = locate(name)
        except UnknownModel as error:
            raise SettingsError("MUSICGEN_MODEL", error.problem, value=name) from None
        check_files(source.folder, device, settings)
        yield Finding(CHECK, "ok", f"{source.label} in {source.folder}")


def check_licence(settings: Settings) -> Iterator[Finding]:
    """Yield the licence of the weights."""
    try:
        licence = read_licence(settings)
    except (UnknownModel, CheckpointError, OSError):
        # The check of the model tells the fault.
        licence = catalog.UNKNOWN_LICENCE
    if licence == catalog.UNKNOWN_LICENCE:
        text = "the licence of the weights is unknown. Read the model's own page before use."
        yield Finding("licence", "warning", text)
    else:
        terms = ": no commercial use" if licence == catalog.MUSICGEN_LICENCE else ""
        yield Finding("licence", "ok", f"{licence}{terms}")


def read_licence(settings: Settings) -> str:
    """Return the licence of the weights as far as files on this machine tell.

    Raises: `UnknownModel`, a `CheckpointError`.
    """
    source = find_local(settings.model)
    if source is not None:
        return source.licence
    entry = catalog.find(settings.model)
    return entry.licence if entry else catalog.UNKNOWN_LICENCE


def find_local(name: str) -> Source | None:
    """Return a model on this machine without a download, or None."""
    if is_to_be_fetched(name) or is_adapter(Path(name)):
        return None
    repository = find_repository(name)
    if repository is None:
        return locate(name)
    folder = find_in_cache(repository, None)
    entry = catalog.find(name)
    licence = entry.licence if entry else catalog.UNKNOWN_LICENCE
    return Source(name, folder, licence) if folder is not None else None


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


def is_adapter(path: Path) -> bool:
    """Whether a folder holds a LoRA adapter and no whole model."""
    is_whole = any(path.glob("model*.safetensors*")) or any(path.glob("pytorch_model*"))
    return (path / ADAPTER_CONFIG).is_file() and not is_whole


def _check_repository(
    repository: str, settings: Settings, device: str, *, asks_hub: bool
) -> Finding:
    folder = find_in_cache(repository, settings.revision)
    if folder is not None:
        check_files(folder, device, settings)
        return Finding(CHECK, "ok", f"{repository} in the hub's cache, {folder}")
    from huggingface_hub import constants

    where = f"{repository} is not in the hub's cache {constants.HF_HUB_CACHE}"
    if constants.HF_HUB_OFFLINE:
        raise CheckpointNotFound(
            f"{where}, and HF_HUB_OFFLINE forbids a download. Unset it, correct MUSICGEN_MODEL, or "
            "copy the model there."
        )
    if asks_hub:
        _ask_hub(repository, settings.revision)
    return Finding(CHECK, "warning", f"{where}: the first start downloads it.")


def _ask_hub(repository: str, revision: str | None) -> None:
    """Raise `CheckpointNotFound` if the hub does not offer the model to this machine."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        HfApi().model_info(repository, revision=revision, timeout=HUB_SECONDS)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().partition("\n")[0][:160]
        raise CheckpointNotFound(
            f"{repository} is not in the hub's cache, and the hub does not give it ({reason}). "
            "Check the name, the network, and HF_TOKEN for a private model."
        ) from None
    except Exception as error:
        # The hub's client raises errors of its HTTP library for a missing network.
        raise CheckpointNotFound(
            f"{repository} is not in the hub's cache, and the hub is not reachable "
            f"({type(error).__name__}). Check the network."
        ) from None
