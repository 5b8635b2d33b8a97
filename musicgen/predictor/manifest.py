"""Manifest of a job: JSON beside its clips with the request, hashes and versions.

Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from musicgen import __version__
from musicgen.request import GenerationRequest
from musicgen.result import Clip, ClipPart

SCHEMA = 1
_BLOCK_BYTES = 2**20


def build_manifest(
    job_id: str, request: GenerationRequest, clips: Sequence[Clip], provenance: Mapping[str, Any]
) -> bytes:
    """Return the manifest of a job as JSON.

    It holds the request without default values, the clips with their hashes, and `provenance`:
    model, revision, licence, engine, versions. The prompt is verbatim; the input audio is replaced
    by its hash.
    """
    content = {
        "schema": SCHEMA,
        "job_id": job_id,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "request": _describe_request(request),
        "clips": [
            _leave_out_address({**asdict(clip), "parts": [*map(_describe_part, clip.parts)]})
            for clip in clips
        ],
        **provenance,
    }
    return (json.dumps(content, indent=2) + "\n").encode()


def list_versions() -> dict[str, str]:
    """Return the versions of this project and of a PyTorch in use."""
    torch = sys.modules.get("torch")
    return {"musicgen": __version__} | ({} if torch is None else {"torch": torch.__version__})


def _describe_part(part: ClipPart) -> dict[str, Any]:
    return _leave_out_address(asdict(part))


def _leave_out_address(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != "address"}


def _describe_request(request: GenerationRequest) -> dict[str, Any]:
    """Return the fields of a request, with the hash of its input audio."""
    mapping = request.to_mapping()
    if request.input_audio is not None:
        mapping["input_audio"] = {"sha256": _hash_file(request.input_audio)}
    return mapping


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
