"""API keys: random, stored as a hash, shown once.

A key is `mg_PREFIX_SECRET`. The prefix finds the row and is no secret. The whole key is stored only
as its SHA-256: the secret has 256 random bits, so the slow hash of a password is not needed.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hmac import compare_digest
from typing import Any

from handlers.job_api.store.database import Pool, query

SCOPES = ("generate", "models", "priority")
"""`generate`: jobs and uploads. `models`: loading models. `priority`: job priorities above 0."""
ANONYMOUS = "anonymous"
_KEY_START = "mg"
_KEY = re.compile(rf"{_KEY_START}_([0-9a-f]{{8}})_[A-Za-z0-9_-]{{43}}")


@dataclass(frozen=True)
class ApiCaller:
    """Caller of the API. `owner`: the prefix of the key; jobs and uploads belong to it."""

    owner: str
    name: str | None
    scopes: frozenset[str]


ANONYMOUS_CALLER = ApiCaller(ANONYMOUS, None, frozenset(SCOPES))
"""The caller of every request on a server without keys."""


@dataclass(frozen=True)
class NewKey:
    """New API key with its webhook secret, both shown only once."""

    prefix: str
    key: str
    webhook_secret: str


async def create(
    pool: Pool, name: str, scopes: frozenset[str], expires_at: datetime | None
) -> NewKey:
    """Create a key. `name`: a note for the operator. `expires_at`: None for no end."""
    prefix, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    key = f"{_KEY_START}_{prefix}_{secret}"
    webhook_secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    await query(
        pool,
        "INSERT INTO musicgen_keys (prefix, sha256, name, scopes, webhook_secret, expires_at) "
        "VALUES (%s, %s, %s, %s, %s, %s)",
        *(prefix, _sha256(key), name, sorted(scopes), webhook_secret, expires_at),
    )
    return NewKey(prefix, key, webhook_secret)


async def revoke(pool: Pool, prefix: str) -> bool:
    """Revoke a key and return whether a valid key had this prefix."""
    rows = await query(
        pool,
        "UPDATE musicgen_keys SET revoked_at = now() WHERE prefix = %s AND revoked_at IS NULL "
        "RETURNING prefix",
        prefix,
    )
    return bool(rows)


async def list_keys(pool: Pool) -> list[dict[str, Any]]:
    """Return the rows of all keys without hashes and secrets, oldest first."""
    return await query(
        pool,
        "SELECT prefix, name, scopes, created_at, expires_at, revoked_at FROM musicgen_keys "
        "ORDER BY created_at",
    )


@dataclass(frozen=True)
class StoredKey:
    """Valid key: the hash of the whole key, and its caller."""

    sha256: str
    caller: ApiCaller


async def read_keys(pool: Pool) -> dict[str, StoredKey]:
    """Return the keys neither revoked nor expired, by prefix."""
    rows = await query(
        pool,
        "SELECT prefix, sha256, name, scopes FROM musicgen_keys "
        "WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())",
    )
    return {
        row["prefix"]: StoredKey(
            row["sha256"], ApiCaller(row["prefix"], row["name"], frozenset(row["scopes"]))
        )
        for row in rows
    }


def match_key(keys: Mapping[str, StoredKey], key: str) -> ApiCaller | None:
    """Return the caller with this key, or None if it is not among `keys`."""
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    stored = keys.get(match[1])
    # Compare also without a row, so that the time taken does not reveal existing prefixes.
    expected = stored.sha256 if stored else _sha256("")
    return stored.caller if compare_digest(expected, _sha256(key)) and stored else None


async def find_webhook_secret(pool: Pool, owner: str) -> str | None:
    """Return the secret for signing webhooks of a key's owner, or None without a key."""
    rows = await query(pool, "SELECT webhook_secret FROM musicgen_keys WHERE prefix = %s", owner)
    return rows[0]["webhook_secret"] if rows else None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
