"""API keys in memory, so that a flood of calls costs the database two queries a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from handlers.job_api.store.api_keys import ApiCaller, StoredKey, match_key, read_keys
from handlers.job_api.store.database import Pool

READ_SECONDS = 0.5
"""A revoked key works this long at most, and a wrong key is refused after this time."""


class KeyRing:
    """The valid API keys, read again when somebody calls."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._keys: Mapping[str, StoredKey] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def find(self, key: str, *, is_patient: bool = True) -> ApiCaller | None:
        """Return the caller with this key, or None if it is unknown, revoked or expired.

        `is_patient`: a key is unknown only if it is not among the keys read after this call. Else
        it may be new.
        """
        asked = time.monotonic()
        await self._read(asked - READ_SECONDS)
        caller = match_key(self._keys, key)
        if caller is None and is_patient:
            await self._read(asked)
            caller = match_key(self._keys, key)
        return caller

    async def _read(self, newer_than: float) -> None:
        """Read the keys, unless they were read after `newer_than`; not more often than allowed."""
        async with self._reading:
            if self._read_at > newer_than:
                return
            await asyncio.sleep(max(0.0, self._read_at + READ_SECONDS - time.monotonic()))
            began = time.monotonic()
            self._keys = await read_keys(self._pool)
            self._read_at = began
