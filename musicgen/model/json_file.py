"""JSON files of a checkpoint folder. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from musicgen.errors import CheckpointCorrupt, CheckpointIncomplete


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object of a checkpoint folder.

    Raises: `CheckpointIncomplete`, `CheckpointCorrupt`.
    """
    try:
        return parse_json(path.read_bytes(), path)
    except FileNotFoundError:
        raise CheckpointIncomplete(
            f"{path.parent} has no {path.name}. Give a MusicGen folder in Hugging Face's layout."
        ) from None
    except OSError as error:
        raise CheckpointCorrupt(f"{path} cannot be read as JSON: {error}") from error


def parse_json(text: bytes, path: Path) -> dict[str, Any]:
    """Parse one JSON object; `path` appears in errors.

    Raises: `CheckpointCorrupt`.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise CheckpointCorrupt(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointCorrupt(f"{path} is not a JSON object.")
    return content
