"""From the name of a model to a local folder: the catalog, a folder, or the Hugging Face hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from musicgen import catalog
from musicgen.errors import CheckpointNotFound, UnknownModel

_SMALL_FILES = ("*.json", "spiece.model")
_WEIGHTS_BY_PREFERENCE = ("*.safetensors", "*.bin")
_DEMO_FOLDER = Path(__file__).parent / "demo" / "checkpoint"
_CARD_MAX_BYTES = 2**20
_FRONT_MATTER = re.compile(r"---\n(.*?)^---\s*$", re.DOTALL | re.MULTILINE)
_LICENCE_LINE = re.compile(r"""^license:[ \t]*["']?([\w.+-]+)["']?[ \t]*(?:#.*)?$""", re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """A checkpoint on this machine. `name` is what the caller called it."""

    name: str
    folder: Path
    licence: str

    @property
    def label(self) -> str:
        """The name as results and tags show it: of a folder its last part alone, because callers
        need not know where it lies."""
        return self.folder.resolve().name if self.name == str(self.folder) else self.name


def locate(name: str) -> Source:
    """Finds the folder of a model, downloading it to the hub's cache when it is not there.

    A name of the catalog is what the catalog says (write ./small for a folder called small);
    then an existing folder; anything else with one slash is a hub name.
    HF_HOME, HF_TOKEN and HF_HUB_OFFLINE mean what they mean to huggingface_hub.

    Raises: `UnknownModel`, `CheckpointNotFound`.
    """
    if name and name not in catalog.CATALOG and Path(name).is_dir():
        return Source(str(Path(name)), Path(name), licence_in(Path(name)))
    entry = catalog.find(name)
    if entry is not None and entry.source == "package":
        return Source(entry.name, _DEMO_FOLDER, entry.licence)
    if entry is not None:
        return Source(entry.name, _from_hub(entry.source), entry.licence)
    if name.count("/") == 1 and not name.startswith((".", "/")):
        return Source(name, _from_hub(name), catalog.UNKNOWN_LICENCE)
    choices = [*catalog.CATALOG, "a folder", "a hub name such as OWNER/NAME"]
    raise UnknownModel("model", name, choices)


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


def _from_hub(repository: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        for weights in _WEIGHTS_BY_PREFERENCE:
            folder = Path(snapshot_download(repository, allow_patterns=[*_SMALL_FILES, weights]))
            if any(folder.glob(weights)):
                break
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointNotFound(
            f"{repository} is neither in the cache nor could it be downloaded ({error}): check "
            "the name, the network, HF_HUB_OFFLINE, and HF_TOKEN if it is private"
        ) from error
    return folder
