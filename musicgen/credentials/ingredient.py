"""Keep the credentials of an input audio: read them in a process of its own.

The file comes from a stranger. Whatever ends its parser ends the child, and the clip is signed
without these credentials.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import musicgen
from musicgen.credentials.claim import Relation
from musicgen.notes import ResultNote

ARCHIVE_MAX = 2**20
"""Limit of the kept manifests of one clip in bytes; each continuation adds some 6,000."""
NOT_KEPT = ResultNote("credentials_lost")
TOO_LARGE = ResultNote("credentials_too_large")
_FILE_MAX = 2**29
_SECONDS = 60.0
_MODULE = "musicgen.credentials.ingredient_main"
_ROOT = Path(musicgen.__file__).parents[1]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ingredient:
    """Input audio in a manifest. `archive` None: its credentials are not kept, see `note`."""

    archive: bytes | None
    is_generated: bool = False
    note: ResultNote | None = None


def read_ingredient(path: Path, relation: Relation) -> Ingredient:
    """Return the input audio as an ingredient. Its credentials are never trusted, only kept."""
    try:
        if path.stat().st_size > _FILE_MAX:
            return Ingredient(None, note=TOO_LARGE)
        child = subprocess.run(
            [sys.executable, "-m", _MODULE, str(path.resolve()), relation],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            cwd=_ROOT,
            check=True,
        )
        line, _, archive = child.stdout.partition(b"\n")
        facts = json.loads(line)
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        # Without the child's output: a stranger's file may have written it.
        logger.warning("reading the credentials of an input audio failed: %s", type(error).__name__)
        return Ingredient(None, note=NOT_KEPT)
    if len(archive) > ARCHIVE_MAX:
        return Ingredient(None, note=TOO_LARGE)
    return Ingredient(archive, bool(facts["is_generated"]))
