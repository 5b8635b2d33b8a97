"""Downloads from the Hugging Face hub.

huggingface_hub speaks through httpx2, httpx or requests, depending on its version, and lets their
errors through. It resumes a file whose connection ends early and gives up at a reset connection.
"""

from __future__ import annotations

import errno
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from musicgen.checkpoints.address import describe_absence
from musicgen.errors import CheckpointNotFound, DiskFull, MusicGenError

ATTEMPTS = 4
PAUSE_SECONDS = 1.0
HTTP_LIBRARIES = ("httpx2", "httpx", "requests")
INTERRUPTIONS = frozenset(
    {"CloseError", "ReadError", "RemoteProtocolError", "WriteError"}
    | {"ChunkedEncodingError", "ContentDecodingError"}
)
"""Errors of the HTTP libraries for a connection that broke off, by name."""
UNREACHABLE = frozenset({"OfflineModeIsEnabled", "ConnectError", "TimeoutException"})
"""Errors of huggingface_hub without a connection to the hub, by name."""
BROKEN = "ConnectionBroken"
_SHOWN_CHARACTERS = 200
_QUERY = re.compile(r"(https?://[^\s'\"?]+)\?[^\s'\"]*")


def download_snapshot(repository: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """Download the files of a repository that match `patterns` and return their folder.

    A broken connection continues where it stopped. Raises: `CheckpointNotFound`, `DiskFull`.
    """
    from huggingface_hub import snapshot_download

    for attempt in range(1, ATTEMPTS + 1):
        prepare_session()
        try:
            return Path(
                snapshot_download(repository, revision=revision, allow_patterns=list(patterns))
            )
        except Exception as error:
            if attempt == ATTEMPTS or not is_interruption(error):
                if (cached := _find_cached(repository, revision, error)) is not None:
                    return cached
                raise translate_error(repository, error) from error
        time.sleep(PAUSE_SECONDS)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _find_cached(repository: str, revision: str | None, error: Exception) -> Path | None:
    """Return the folder of a snapshot in the cache after a download without a connection, or None.

    Most versions of huggingface_hub look there themselves. Some, such as 1.31, do not for a commit
    that another version or another tool has put into the cache without a list of its files.
    """
    from huggingface_hub import snapshot_download

    if not UNREACHABLE & {kind.__name__ for kind in type(error).__mro__}:
        return None
    try:
        return Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except Exception:
        return None


def prepare_session() -> None:
    """Have huggingface_hub resume a file after a reset connection, and end a call that stalls.

    It continues at the last whole 10 MB after a `ConnectError`, at most five times in a row without
    new data, so the body of each response raises that one instead. Its calls of the hub's API have
    no timeout.
    """
    from huggingface_hub import get_session

    session: Any = get_session()
    # Versions before 1.0 use requests. They keep the incomplete file and continue it in the next
    # attempt.
    hooks = getattr(session, "event_hooks", None)
    if hooks is None or _replace_body in hooks["response"]:
        return
    session.event_hooks = {
        "request": [*hooks["request"], _limit_time],
        "response": [*hooks["response"], _replace_body],
    }


def _limit_time(request: Any) -> None:
    from huggingface_hub import constants

    limits = request.extensions.get("timeout", {})
    request.extensions["timeout"] = {
        phase: limits.get(phase) or constants.HF_HUB_DOWNLOAD_TIMEOUT
        for phase in ("connect", "read", "write", "pool")
    }


def _replace_body(response: Any) -> None:
    library = sys.modules[type(response).__module__.partition(".")[0]]

    broken: Any = type(BROKEN, (library.ConnectError,), {})

    class Body(library.SyncByteStream):  # type: ignore[misc,name-defined]
        """Body of a response with `ConnectError` for a broken connection."""

        def __init__(self, stream: Any) -> None:
            self._stream = stream

        def __iter__(self) -> Iterator[bytes]:
            try:
                yield from self._stream
            except (library.NetworkError, library.RemoteProtocolError) as error:
                raise broken(str(error)) from error

        def close(self) -> None:
            self._stream.close()

    response.stream = Body(response.stream)


def is_interruption(error: BaseException) -> bool:
    """Return whether the connection broke off, so that another attempt may succeed."""
    return bool(INTERRUPTIONS & _name_http_errors(error))


def translate_error(repository: str, error: Exception) -> MusicGenError:
    """Return the error of a failed download, in one line and without the secrets of signed URLs."""
    from huggingface_hub import constants

    causes = list(_list_causes(error))
    if any(isinstance(each, OSError) and each.errno == errno.ENOSPC for each in causes):
        return DiskFull(
            f"the disk has no room for {repository}. Free some space, or set HF_HOME to a folder "
            "on another disk."
        )
    # LocalEntryNotFoundError hides the error of the network behind advice of several lines.
    shown = next((each for each in causes if _name_http_errors(each)), error)
    if any(is_interruption(each) or type(each).__name__ == BROKEN for each in causes):
        return CheckpointNotFound(
            f"{repository} is not in the cache, and its download broke off ({describe(shown)}). "
            "Check the network and its proxy, then start again: complete files are kept."
        )
    where = f"{describe_absence(repository)}{repository} is not in the cache"
    if constants.HF_HUB_OFFLINE:
        return CheckpointNotFound(
            f"{where}, and HF_HUB_OFFLINE forbids a download. Unset it, correct the name, or copy "
            "the model into the cache (HF_HUB_CACHE)."
        )
    return CheckpointNotFound(
        f"{where} and could not be downloaded ({describe(shown)}): check "
        "the name, the network and its proxy, and HF_TOKEN for a private model"
    )


def describe(error: BaseException) -> str:
    """Return an error's type and the first line of its text, without the queries of URLs."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = _QUERY.sub(r"\1", lines[0])[:_SHOWN_CHARACTERS] if lines else ""
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def _name_http_errors(error: BaseException) -> set[str]:
    """Return the names of an error's classes that belong to an HTTP library."""
    return {
        kind.__name__
        for kind in type(error).__mro__
        if kind.__module__.partition(".")[0] in HTTP_LIBRARIES
    }


def _list_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the errors that caused it."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
