"""Licence of a checkpoint, from the front matter of its model card.

A licence is a text: an identifier of the hub such as "mit", or the licence's own name, with its
address in parentheses if known. The front matter is searched without a YAML parser: a cold start
with a local folder imports neither huggingface_hub nor PyYAML, and archives may hold hostile YAML.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from musicgen.catalog import DEMO_LICENCE, MUSICGEN_LICENCE, UNKNOWN_LICENCE

CARD = "README.md"
HUB_SECONDS = 3.0
_MAX_BYTES = 2**20
_FRONT_MATTER = re.compile(r"---\n(.*?)^---\s*$", re.DOTALL | re.MULTILINE)
_IDENTIFIER = re.compile(r"[\w.+-]+", re.ASCII)
_NAME = re.compile(r"[\w .,:;()+/&-]{1,200}", re.ASCII)
_LINK = re.compile(r"https?://[\w./~%?&=+#:@-]{1,300}", re.ASCII)
_NO_IDENTIFIER = ("other", "unknown")
_SPELLINGS = {name.casefold(): name for name in (MUSICGEN_LICENCE, DEMO_LICENCE)}


def read_licence(folder: Path) -> str:
    """Read the licence from the model card in a checkpoint's folder.

    Returns a text in the catalog's spelling if it is there; `catalog.UNKNOWN_LICENCE` without one.
    """
    try:
        with (folder / CARD).open(encoding="utf-8", errors="replace") as card:
            front_matter = _FRONT_MATTER.match(card.read(_MAX_BYTES))
    except OSError:
        return UNKNOWN_LICENCE
    if front_matter is None:
        return UNKNOWN_LICENCE
    keys = ("license", "license_name", "license_link")
    return build_licence(*(_find_value(front_matter[1], key) for key in keys))


def build_licence(identifier: object, name: object = None, link: object = None) -> str:
    """Return the licence of a card's `license`, `license_name` and `license_link`.

    The name applies to the identifiers "other" and "unknown", and without an identifier. A value of
    another kind or with unusual characters is ignored.
    """
    known = identifier if isinstance(identifier, str) and _IDENTIFIER.fullmatch(identifier) else ""
    if known and known.casefold() not in _NO_IDENTIFIER:
        return _SPELLINGS.get(known.casefold(), known)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return UNKNOWN_LICENCE
    has_link = isinstance(link, str) and _LINK.fullmatch(link)
    return f"{name} ({link})" if has_link else name


def combine_licences(own: str, base: str) -> str:
    """Return the licence of weights made from a base model: both licences apply.

    Without a licence of their own, that of the base model applies.
    """
    if own in (base, UNKNOWN_LICENCE):
        return base
    return f"{own}, base model {'unknown' if base == UNKNOWN_LICENCE else base}"


def is_identifier(licence: str) -> bool:
    """Return whether a licence is an identifier of the hub, and no name or unknown."""
    return _IDENTIFIER.fullmatch(licence) is not None


def render_licence(licence: str) -> str:
    """Return the lines of a card's front matter for a licence; `read_licence` reads them back."""
    if licence == UNKNOWN_LICENCE:
        return "license: unknown\n"
    if is_identifier(licence):
        return f"license: {licence.lower()}\n"
    return f"license: other\nlicense_name: {json.dumps(licence)}\n"


def ask_hub(repository: str, revision: str | None = None) -> str:
    """Return the licence on a model's page on the hub, unknown without an answer within 3 s."""
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        return UNKNOWN_LICENCE
    try:
        info = HfApi().model_info(repository, revision=revision, timeout=HUB_SECONDS)
    except Exception:
        # The hub's client also raises errors of its HTTP library; a licence is never worth a stop.
        return UNKNOWN_LICENCE
    card = info.card_data
    if card is None:
        return UNKNOWN_LICENCE
    return build_licence(*(card.get(key) for key in ("license", "license_name", "license_link")))


def _find_value(front_matter: str, key: str) -> str | None:
    """Return the value of a key at the top level, if it is a text in one line."""
    quoted_or_bare = r"""(?:"([^"\n]*)"|'([^'\n]*)'|([^"'\s#][^#\n]*?))"""
    line = re.compile(rf"^{key}:[ \t]*{quoted_or_bare}[ \t]*(?:[ \t]#.*)?$", re.MULTILINE)
    found = line.search(front_matter)
    return next((value for value in found.groups() if value is not None), None) if found else None
