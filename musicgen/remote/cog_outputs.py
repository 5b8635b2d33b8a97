"""Which output of a streaming prediction is the whole clip.

Cog lists uploaded files in the order in which their uploads end, and inline files (data: URIs) in
the order of the runner. A file of our runners is named for what it is, and the metric
`clip_sha256` is the hash of the clip, for a storage that gives names of its own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from musicgen.errors import RemoteError
from musicgen.remote.http_api import HttpApi

_CLIP = re.compile(r".*-clip\.\w+")
_PIECE = re.compile(r".*-piece-\d+\.\w+")


def download_clip(api: HttpApi, output: Any, metrics: Mapping[str, Any]) -> tuple[bytes, str]:
    """Return bytes and MIME type of the whole clip of a prediction's output.

    Raises: `RemoteError`, also if no output is the clip; `GenerationCancelled`.
    """
    outputs = output if isinstance(output, list) else [output]
    if not outputs or not all(isinstance(each, str) for each in outputs):
        raise RemoteError(f"the prediction has no clip: {str(output)[:200]}")
    sha256 = metrics.get("clip_sha256")
    ranked = rank_outputs(outputs)
    if sha256 is None and not _is_certain(ranked):
        raise RemoteError(
            "the prediction does not say which output is the clip. Push the model again with this "
            "version."
        )
    for address in ranked:
        data, kind = api.download(address)
        if sha256 is None or hashlib.sha256(data).hexdigest() == sha256:
            return data, kind
    raise RemoteError(
        "no output of the prediction is the clip with its clip_sha256: the storage changed it."
    )


def rank_outputs(outputs: Sequence[str]) -> list[str]:
    """Return the outputs, the most likely whole clip first, without known pieces.

    Named clips come first, then other URLs, then data: URIs, the last first.
    """
    rest = [each for each in reversed(outputs) if not _PIECE.fullmatch(_read_name(each))]
    return sorted(
        rest, key=lambda each: (_CLIP.fullmatch(_read_name(each)) is None, _is_data(each))
    )


def _is_certain(ranked: Sequence[str]) -> bool:
    """Return whether the first of these is the clip: alone, named, or the last in order."""
    return (
        len(ranked) == 1
        or any(_CLIP.fullmatch(_read_name(each)) for each in ranked[:1])
        or all(map(_is_data, ranked[1:]))
    )


def _is_data(address: str) -> bool:
    return address.startswith("data:")


def _read_name(address: str) -> str:
    """Return the file name in a URL, or "" for a data: URI."""
    return "" if _is_data(address) else unquote(urlsplit(address).path).rpartition("/")[2]
