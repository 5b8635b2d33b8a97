"""Storage inside the answer itself: clips as data: URIs (RFC 2397)."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from musicgen.errors import InlineTooLarge
from musicgen.storage.base import ClipFile

INLINE_MAX_BYTES = 7_000_000
"""Limit for all clips of a job. RunPod's /run takes 10 MB of JSON, and base64 adds a third."""


class InlineStorage:
    """Storage of jobs; the address of a clip is the clip itself."""

    def __init__(self, limit_bytes: int = INLINE_MAX_BYTES) -> None:
        self._limit = limit_bytes

    def prepare(self, expected_bytes: int) -> None:
        """Check the expected size against the limit. Raises: `InlineTooLarge`."""
        self._check(expected_bytes)

    def put_all(self, files: Sequence[ClipFile]) -> list[str]:
        """Return the clips of one job as data: URIs. Raises: `InlineTooLarge`."""
        addresses: list[str] = []
        used = 0
        for file in files:
            data = b"".join(file.blocks)
            used += len(data)
            self._check(used)
            # A URI has no blanks; a parameter such as codecs=opus may follow one in a header.
            kind = file.content_type.replace(" ", "")
            addresses.append(f"data:{kind};base64,{base64.b64encode(data).decode()}")
        return addresses

    def remove(self, address: str) -> None:
        """Do nothing: the clip is in its address."""

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise InlineTooLarge(
                f"the audio has {size / 1e6:.1f} MB, an answer at most {self._limit / 1e6:.1f} MB. "
                "Configure a bucket (MUSICGEN_BUCKET), or ask for a shorter clip, fewer "
                "variations or output_format mp3.",
            )
