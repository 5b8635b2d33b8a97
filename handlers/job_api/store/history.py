"""History of an owner: pages of jobs, search, names and favourites."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from handlers.job_api.errors import TooManyFavourites
from handlers.job_api.store import queue
from handlers.job_api.store.database import Pool, query, retry_on_disconnect
from handlers.job_api.store.jobs import JOB_ID

WORDS_MAX = 12
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class JobFilter:
    """Filter of a history. `search`: words, each the beginning of a word in name or prompts."""

    state: str | None = None
    favourite: bool | None = None
    search: str = ""


async def list_jobs(
    pool: Pool,
    owner: str,
    limit: int,
    before: tuple[datetime, str] | None,
    chosen: JobFilter = JobFilter(),
) -> list[dict[str, Any]]:
    """Return a page of an owner's jobs, newest first.

    `before`: (created_at, id) of the last job of the page before.
    """
    conditions: dict[str, tuple[object, ...]] = {"owner = %s": (owner,)}
    if chosen.state is not None:
        conditions["state = %s"] = (chosen.state,)
    if chosen.favourite is not None:
        conditions["favourite" if chosen.favourite else "NOT favourite"] = ()
    if (words := build_search(chosen.search)) is not None:
        conditions["musicgen_words(name, request) @@ %s::tsquery"] = (words,)
    if before is not None:
        conditions["(created_at, id) < (%s::timestamptz, %s)"] = before
    return await query(
        pool,
        f"SELECT *, NULL AS position FROM musicgen_jobs WHERE {' AND '.join(conditions)} "
        "ORDER BY created_at DESC, id DESC LIMIT %s",
        *(value for values in conditions.values() for value in values),
        limit,
    )


def build_search(text: str) -> str | None:
    """Return PostgreSQL's query for the words of a text, or None for a text without words.

    The words hold letters and digits alone, so nothing in them is an operator.
    """
    words = _WORD.findall(text)[:WORDS_MAX]
    return " & ".join(_build_word(word) for word in words) or None


def _build_word(word: str) -> str:
    # A database with the locale C keeps the case of letters outside ASCII.
    forms = dict.fromkeys((word.lower(), word, word.capitalize(), word.upper()))
    return "(" + " | ".join(f"'{form}':*" for form in forms) + ")"


@dataclass(frozen=True)
class JobChanges:
    """Changes of a job by its owner; a field that is None stays. `name`: empty for no name."""

    name: str | None = None
    favourite: bool | None = None


async def update_job(
    pool: Pool, owner: str, job_id: str, changes: JobChanges, favourites_max: int
) -> bool:
    """Change a job, and return whether the owner has it.

    Raises: `TooManyFavourites` above `favourites_max`.
    """

    async def work() -> bool:
        async with pool.connection() as connection, connection.transaction():
            # One change of an owner at a time: the count below stays true until the commit.
            await queue.lock_owner(connection, owner)
            if changes.favourite:
                cursor = await connection.execute(_OTHER_FAVOURITES.encode(), [owner, job_id])
                if len(await cursor.fetchall()) >= favourites_max:
                    raise TooManyFavourites(favourites_max)
            cursor = await connection.execute(
                _UPDATE.encode(),
                [changes.favourite, changes.name, changes.name, owner, job_id],
            )
            return await cursor.fetchone() is not None

    return bool(JOB_ID.fullmatch(job_id)) and await retry_on_disconnect(work)


_OTHER_FAVOURITES = "SELECT id FROM musicgen_jobs WHERE owner = %s AND favourite AND id <> %s"
_UPDATE = """
    UPDATE musicgen_jobs SET favourite = coalesce(%s, favourite),
        name = CASE WHEN %s::text IS NULL THEN name ELSE nullif(%s, '') END
    WHERE owner = %s AND id = %s RETURNING id
"""
