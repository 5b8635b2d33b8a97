"""A file that libsndfile writes and that somebody else reads while it is being written."""

from __future__ import annotations

import io

HEADER_BYTES = 2**16
"""No header of ours is longer, tags included; only there does a writer go back."""


class Drain:
    """What soundfile needs of a file, in memory that `take` empties.

    `header` is the beginning of the file, also of what was taken: containers write their length
    there at the end.
    """

    def __init__(self) -> None:
        self.header = bytearray()
        self._pending = bytearray()
        self._size = 0
        self._position = 0

    def take(self) -> bytes:
        """The bytes appended since the last call."""
        taken = bytes(self._pending)
        self._pending.clear()
        return taken

    def write(self, data: bytes) -> int:
        data = bytes(data)
        self._remember(data)
        taken = self._size - len(self._pending)
        # What was taken cannot be called back: of that part only `header` knows.
        start = max(self._position, taken)
        kept = data[start - self._position :]
        self._pending[start - taken : start - taken + len(kept)] = kept
        self._position += len(data)
        self._size = max(self._size, self._position)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, _size: int = -1) -> bytes:
        return b""

    def flush(self) -> None:
        """There is nothing behind this memory."""

    def _remember(self, data: bytes) -> None:
        room = HEADER_BYTES - self._position
        if room > 0:
            end = self._position + min(room, len(data))
            self.header[self._position : end] = data[:room]
