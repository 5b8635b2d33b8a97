"""What a job made, from what and with what, as JSON beside its clips for those who find them.

This module imports no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from musicgen.request import GenerationRequest
from musicgen.result import Clip

SCHEMA = 1
_PIECE = 2**20
_NOT_OF_THE_FILE = ("address",)


def manifest_of(
    job_id: str, request: GenerationRequest, clips: Sequence[Clip], made_with: Mapping[str, Any]
) -> bytes:
    """The manifest of a job: its request as far as it differs from the defaults, its clips with
    their hashes, and `made_with`: model, revision, licence, engine, versions.

    Of the input audio it holds the hash; the prompt is in it as it was sent.
    """
    content = {
        "schema": SCHEMA,
        "job_id": job_id,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "request": _describe(request),
        "clips": [
            {name: value for name, value in asdict(clip).items() if name not in _NOT_OF_THE_FILE}
            for clip in clips
        ],
        **made_with,
    }
    return (json.dumps(content, indent=2) + "\n").encode()


def _describe(request: GenerationRequest) -> dict[str, Any]:
    """Return the fields of a request, with the hash of its input audio."""
    mapping = request.to_mapping()
    if request.input_audio is not None:
        mapping["input_audio"] = {"sha256": _sha256_of(request.input_audio)}
    return mapping


def _sha256_of(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            found.update(piece)
    return found.hexdigest()
