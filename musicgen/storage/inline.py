"""Clips inside the answer itself, as data: URIs (RFC 2397)."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence

from musicgen.errors import InlineTooLarge
from musicgen.storage.base import ClipFile, ClipName, put_all_or_none

INLINE_MAX_BYTES = 7_000_000
"""All clips of a job together: RunPod's /run takes 10 MB of JSON, and base64 adds a third."""


class InlineStorage:
    """For one job: nothing is kept anywhere, the address is the clip."""

    def __init__(self, limit_bytes: int = INLINE_MAX_BYTES) -> None:
        self._limit = limit_bytes
        self._used = 0

    def prepare(self, expected_bytes: int) -> None:
        """Raises: `InlineTooLarge` for clips that may be more than an answer holds."""
        self._check(expected_bytes)

    def put_all(self, files: Sequence[ClipFile]) -> list[str]:
        """Raises: `InlineTooLarge`."""
        return put_all_or_none(self, files)

    def put(
        self,
        name: ClipName,
        blocks: Iterable[bytes],
        content_type: str,
        metadata: Mapping[str, str],
    ) -> str:
        """Returns: the clip as a data: URI. Raises: `InlineTooLarge`."""
        data = b"".join(blocks)
        self._check(self._used + len(data))
        self._used += len(data)
        # A URI has no blanks; a parameter such as codecs=opus may follow one in a header.
        kind = content_type.replace(" ", "")
        return f"data:{kind};base64,{base64.b64encode(data).decode()}"

    def remove(self, address: str) -> None:
        """There is nothing to remove: whoever has the address has the clip."""

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise InlineTooLarge(
                f"{size / 1e6:.1f} MB of audio, but an answer holds {self._limit / 1e6:.1f} MB: "
                "configure a bucket (MUSICGEN_BUCKET), or ask for a shorter clip, fewer "
                "variations, or output_format mp3"
            )
