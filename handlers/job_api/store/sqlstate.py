"""SQLSTATE of a refused connection.

psycopg has the code of a failed statement. Of a refused connection it has a text alone, and the
server writes that in its own language (`lc_messages`). libpq writes the code instead, if it is
asked between the first and the last step of a connection. psycopg has no call for this, so libpq's
own is called.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import re
import select
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from psycopg import pq

_SQLSTATE_ONLY = 3
"""PQERRORS_SQLSTATE of libpq 12 and newer."""
_CODE = re.compile(r":\s+([0-9A-Z]{5})\s*$")


def read_sqlstate(url: str, seconds: float) -> str | None:
    """Connect once and return the server's SQLSTATE, such as 28P01.

    Returns None for a success, for a failure before the server's answer, after `seconds`, and
    without libpq's call.
    """
    libpq = _load_libpq()
    if libpq is None:
        return None
    # The type has no pointer, but all implementations do.
    connection: Any = pq.PGconn.connect_start(url.encode())
    try:
        if connection.pgconn_ptr is None or connection.status == pq.ConnStatus.BAD:
            return None
        libpq.PQsetErrorVerbosity(connection.pgconn_ptr, _SQLSTATE_ONLY)
        if not _has_failed(connection, time.monotonic() + seconds):
            return None
        found = _CODE.search(connection.error_message.decode("ascii", "replace"))
        return None if found is None else found[1]
    finally:
        connection.finish()


def _has_failed(connection: Any, end: float) -> bool:
    """Complete a connection and return whether the server or libpq refused it."""
    step = pq.PollingStatus.WRITING
    while step in (pq.PollingStatus.READING, pq.PollingStatus.WRITING):
        left = end - time.monotonic()
        if left <= 0:
            return False
        socket = [connection.socket]
        reads = socket if step == pq.PollingStatus.READING else []
        select.select(reads, [] if reads else socket, [], left)
        step = pq.PollingStatus(connection.connect_poll())
    return step == pq.PollingStatus.FAILED


@cache
def _load_libpq() -> ctypes.CDLL | None:
    """Return the library that psycopg uses, None where it cannot be found.

    Another copy must not be taken, because its connections may have another layout.
    """
    path = ctypes.util.find_library("pq")
    if pq.__impl__ == "binary":
        path = _find_bundled()
    if path is None:
        return None
    try:
        libpq = ctypes.CDLL(path)
        libpq.PQsetErrorVerbosity.argtypes = [ctypes.c_void_p, ctypes.c_int]
    except (OSError, AttributeError):
        return None
    return libpq


def _find_bundled() -> str | None:
    spec = find_spec("psycopg_binary")
    if spec is None or spec.origin is None:
        return None
    package = Path(spec.origin).parent
    found = [
        *package.with_name("psycopg_binary.libs").glob("libpq*"),
        *(package / ".dylibs").glob("libpq*"),
    ]
    return str(found[0]) if len(found) == 1 else None
