"""From the name of a model to a local folder: the catalog, a folder, or the Hugging Face hub."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from musicgen import catalog
from musicgen.checkpoints.packed.format import packed_files, read_header
from musicgen.errors import CheckpointIncomplete, CheckpointNotFound, UnknownModel

ADAPTER_CONFIG = "adapter_config.json"
_SMALL_FILES = ("*.json", "spiece.model")
_WEIGHTS_BY_PREFERENCE = ("*.safetensors", "*.bin")
_DEMO_FOLDER = Path(__file__).parents[1] / "demo" / "checkpoint"
_CARD_MAX_BYTES = 2**20
_FRONT_MATTER = re.compile(r"---\n(.*?)^---\s*$", re.DOTALL | re.MULTILINE)
_LICENCE_LINE = re.compile(r"""^license:[ \t]*["']?([\w.+-]+)["']?[ \t]*(?:#.*)?$""", re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """A checkpoint on this machine, or a packed file, which `folder` then is. `name` is what the
    caller called it, `title` what a packed file was packed from, `adapter` the folder of a LoRA
    adapter that is merged into it, `packed_from` the revision of a packed file."""

    name: str
    folder: Path
    licence: str
    title: str | None = None
    adapter: Path | None = None
    packed_from: str | None = None

    @property
    def revision(self) -> str | None:
        """The commit of the hub, where it is known: of its cache, and of what was packed there."""
        if self.packed_from is not None or self.folder.parent.name != "snapshots":
            return self.packed_from
        return self.folder.name

    @property
    def label(self) -> str:
        """The name as results and tags show it: of a folder its last part alone, because callers
        need not know where it lies."""
        own = self.adapter or self.folder
        if self.title is not None or self.name != str(own):
            return self.title or self.name
        return own.resolve().name


def locate(name: str, revision: str | None = None, base: str | None = None) -> Source:
    """Finds the folder of a model, downloading it to the hub's cache when it is not there.

    A name of the catalog is what the catalog says (write ./small for a folder called small);
    then an existing folder or packed file; anything else with one slash is a hub name, of which
    `revision` may be wanted. HF_HOME, HF_TOKEN and HF_HUB_OFFLINE mean what they mean to
    huggingface_hub. Where an adapter lies, its model is `base`, or else the one that its own
    configuration names.

    Raises: `UnknownModel`, `CheckpointNotFound`.
    """
    source = _located(name, revision)
    folder = source.folder
    is_whole = any(folder.glob("model*.safetensors*")) or any(folder.glob("pytorch_model*"))
    if is_whole or not (folder / ADAPTER_CONFIG).is_file():
        return source
    below = base or _base_of(folder)
    try:
        found = locate(below)
    except (UnknownModel, CheckpointNotFound) as error:
        raise CheckpointNotFound(
            f"the adapter {source.label} is for {below}, which cannot be had: name a checkpoint "
            f"with MUSICGEN_BASE_MODEL ({error})"
        ) from error
    return Source(source.name, found.folder, found.licence, adapter=folder)


def named(name: str) -> str:
    """What callers may call the model `name`, as far as that is known before it is loaded."""
    entry = catalog.find(name)
    if entry is not None:
        return entry.name
    return Path(name.partition("?")[0]).name if "://" in name or Path(name).exists() else name


def _located(name: str, revision: str | None) -> Source:
    path = Path(name)
    if name and name not in catalog.CATALOG and path.exists():
        packed = [path] if path.is_file() else packed_files(path)
        if not packed:
            return Source(str(path), path, licence_in(path))
        manifest = read_header(packed[0])[1]
        return Source(
            str(path), path, manifest.licence, manifest.source, packed_from=manifest.revision
        )
    entry = catalog.find(name)
    if entry is not None and entry.source == "package":
        return Source(entry.name, _DEMO_FOLDER, entry.licence)
    if entry is not None:
        return Source(entry.name, _from_hub(entry.source, revision), entry.licence)
    if name.count("/") == 1 and not name.startswith((".", "/")):
        return Source(name, _from_hub(name, revision), catalog.UNKNOWN_LICENCE)
    choices = [*catalog.CATALOG, "a folder", "a packed file", "a hub name such as OWNER/NAME"]
    raise UnknownModel.for_choice("model", name, choices)


def _base_of(folder: Path) -> str:
    """The model that an adapter was trained on. Raises: `CheckpointIncomplete`."""
    try:
        named = json.loads((folder / ADAPTER_CONFIG).read_bytes())["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError):
        named = None
    if not isinstance(named, str) or not named:
        raise CheckpointIncomplete(
            f"{folder / ADAPTER_CONFIG} names no base model: set MUSICGEN_BASE_MODEL"
        )
    return named


def licence_in(folder: Path) -> str:
    """The licence that the model card of a checkpoint's folder names, or that none is known.

    A hub's identifier, such as "mit"; those of the catalog are spelled as there.
    """
    try:
        with (folder / "README.md").open(encoding="utf-8", errors="replace") as card:
            front_matter = _FRONT_MATTER.match(card.read(_CARD_MAX_BYTES))
    except OSError:
        return catalog.UNKNOWN_LICENCE
    line = front_matter and _LICENCE_LINE.search(front_matter[1])
    if not line or line[1] in ("other", "unknown"):
        return catalog.UNKNOWN_LICENCE
    known = {each.casefold(): each for each in (catalog.MUSICGEN_LICENCE, catalog.DEMO_LICENCE)}
    return known.get(line[1].casefold(), line[1])


def _from_hub(repository: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        for weights in _WEIGHTS_BY_PREFERENCE:
            patterns = [*_SMALL_FILES, weights]
            folder = Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
            if any(folder.glob(weights)):
                break
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointNotFound(
            f"{repository} is neither in the cache nor could it be downloaded ({error}): check "
            "the name, the network, HF_HUB_OFFLINE, and HF_TOKEN if it is private"
        ) from error
    return folder
