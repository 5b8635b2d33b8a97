"""API keys: random, kept as a hash, shown once.

A key is `mg_PREFIX_SECRET`. The prefix finds its row and may be shown; of the rest there is only
the SHA-256, which is enough for 256 random bits, where a slow hash would be for passwords.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from hmac import compare_digest
from typing import Any

from handlers.job_api.store.database import Pool, query

SCOPES = ("generate", "models", "priority")
"""`generate` is jobs and uploads, `models` which one is loaded, `priority` jobs above 0."""
ANONYMOUS = "anonymous"
_MARK = "mg"
_FORM = re.compile(rf"{_MARK}_([0-9a-f]{{8}})_[A-Za-z0-9_-]{{43}}")


@dataclass(frozen=True)
class Caller:
    """Who asks: jobs belong to `owner`, which is the prefix of a key."""

    owner: str
    name: str | None
    scopes: frozenset[str]


NOBODY = Caller(ANONYMOUS, None, frozenset(SCOPES))
"""Everybody on this machine, where no keys are asked for."""


@dataclass(frozen=True)
class NewKey:
    """`key` and `webhook_secret` are shown now and never again."""

    prefix: str
    key: str
    webhook_secret: str


async def create(
    pool: Pool, name: str, scopes: frozenset[str], expires_at: datetime | None
) -> NewKey:
    prefix, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    key = f"{_MARK}_{prefix}_{secret}"
    webhook_secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    await query(
        pool,
        "INSERT INTO musicgen_keys (prefix, sha256, name, scopes, webhook_secret, expires_at) "
        "VALUES (%s, %s, %s, %s, %s, %s)",
        *(prefix, _sha256(key), name, sorted(scopes), webhook_secret, expires_at),
    )
    return NewKey(prefix, key, webhook_secret)


async def revoke(pool: Pool, prefix: str) -> bool:
    """Whether there was one to revoke."""
    rows = await query(
        pool,
        "UPDATE musicgen_keys SET revoked_at = now() WHERE prefix = %s AND revoked_at IS NULL "
        "RETURNING prefix",
        prefix,
    )
    return bool(rows)


async def listed(pool: Pool) -> list[dict[str, Any]]:
    """Of each key what may be shown."""
    return await query(
        pool,
        "SELECT prefix, name, scopes, created_at, expires_at, revoked_at FROM musicgen_keys "
        "ORDER BY created_at",
    )


async def caller_of(pool: Pool, key: str) -> Caller | None:
    """Who has this key; None for one that is unknown, revoked or past its time."""
    found = _FORM.fullmatch(key)
    if found is None:
        return None
    rows = await query(
        pool,
        "SELECT sha256, name, scopes FROM musicgen_keys WHERE prefix = %s "
        "AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())",
        found[1],
    )
    # Compared with something in either case: the time does not tell which prefixes there are.
    known = rows[0]["sha256"] if rows else _sha256("")
    if not compare_digest(known, _sha256(key)) or not rows:
        return None
    return Caller(found[1], rows[0]["name"], frozenset(rows[0]["scopes"]))


async def webhook_secret_of(pool: Pool, owner: str) -> str | None:
    rows = await query(pool, "SELECT webhook_secret FROM musicgen_keys WHERE prefix = %s", owner)
    return rows[0]["webhook_secret"] if rows else None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
