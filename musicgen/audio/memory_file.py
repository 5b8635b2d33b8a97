"""A file in memory, written by libsndfile and read while it grows."""

from __future__ import annotations

import io

HEADER_BYTES = 2**16
"""Upper bound of a header, tags included. A writer seeks back only into the header."""


class MemoryFile:
    """Writable file in memory with the methods soundfile needs; `take` empties it.

    `header` is the beginning of the file, including bytes already taken: containers write their
    length there at the end.
    """

    def __init__(self) -> None:
        self.header = bytearray()
        self._pending = bytearray()
        self._size = 0
        self._position = 0

    def take(self) -> bytes:
        """Return the bytes appended since the last call."""
        data = bytes(self._pending)
        self._pending.clear()
        return data

    def write(self, data: bytes) -> int:
        """Write at the current position, over earlier bytes or at the end."""
        data = bytes(data)
        self._update_header(data)
        size_taken = self._size - len(self._pending)
        # Bytes already taken cannot be changed; only `header` records such a change.
        start = max(self._position, size_taken)
        changeable = data[start - self._position :]
        self._pending[start - size_taken : start - size_taken + len(changeable)] = changeable
        self._position += len(data)
        self._size = max(self._size, self._position)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position, as in `io.IOBase.seek`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def read(self, _size: int = -1) -> bytes:
        """Return nothing: the file is only written."""
        return b""

    def flush(self) -> None:
        """Do nothing: there is no buffer."""

    def _update_header(self, data: bytes) -> None:
        room = HEADER_BYTES - self._position
        if room > 0:
            end = self._position + min(room, len(data))
            self.header[self._position : end] = data[:room]
