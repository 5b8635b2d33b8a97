"""Uploads of large clips, started while their end is still being encoded."""

from __future__ import annotations

import io
import logging
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any, BinaryIO

from musicgen.errors import UploadFailed
from musicgen.storage.s3_client import MULTIPART_BYTES, read_code, upload_once
from musicgen.storage.spool import UploadTarget

logger = logging.getLogger(__name__)


class EarlyUpload:
    """Upload of a large clip, started while its end is still being encoded.

    It reads the spool's file behind the writer, and the writer never waits. After a failure the
    whole file is sent again.
    """

    def __init__(self, client: Any, target: UploadTarget) -> None:
        self.target = target
        self._client = client
        self._file: _GrowingFile | None = None
        self._result: Future[None] = Future()

    def extend(self, file: BinaryIO, size: int) -> None:
        """Note the new size of the file, after each block; start the upload if it is large."""
        if self._file is not None:
            self._file.grow(size)
        elif size > MULTIPART_BYTES:
            self._file = _GrowingFile(Path(file.name), size)
            threading.Thread(target=self._run, args=(self._file,), daemon=True).start()

    def finish(self) -> bool:
        """Wait for the end of the upload, the clip being complete; return its success.

        False also for an upload never started.
        """
        if self._file is None:
            return False
        self._file.end()
        return self._result.exception() is None

    def abandon(self) -> None:
        """End the upload; its parts never become an object."""
        if self._file is not None:
            self._file.end(broken=True)

    def _run(self, file: _GrowingFile) -> None:
        try:
            upload_once(self._client, self.target, file)
        except Exception as error:
            logger.info(
                "upload during generation failed, sending the whole clip again: %s",
                read_code(error),
            )
            self._result.set_exception(error)
        else:
            self._result.set_result(None)
        finally:
            file.close()


class _GrowingFile(io.RawIOBase):
    """File read while it is written; a read waits for its bytes."""

    def __init__(self, path: Path, size: int) -> None:
        self._file = path.open("rb")
        self._size = size
        self._ended = False
        self._broken = False
        self._changed = threading.Condition()

    def readable(self) -> bool:
        """Return True, as `io` asks."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes, fewer at the end. Raises: `UploadFailed` for an abandoned clip."""
        with self._changed:
            end = None if size < 0 else self._file.tell() + size
            self._changed.wait_for(lambda: self._ended or (end is not None and self._size >= end))
            if self._broken:
                raise UploadFailed("the clip was not finished.")
        return self._file.read(size)

    def grow(self, size: int) -> None:
        """Note the new size of the file."""
        with self._changed:
            self._size = size
            self._changed.notify_all()

    def end(self, *, broken: bool = False) -> None:
        """Note that the file is complete, or `broken`."""
        with self._changed:
            self._ended, self._broken = True, broken
            self._changed.notify_all()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
