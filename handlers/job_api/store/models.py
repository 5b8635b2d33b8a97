"""Which models may be asked for, which are loaded, and which one is meant where none is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.status import ALIVE_SECONDS
from musicgen import catalog


@dataclass(frozen=True)
class Known:
    """`loaded` and `loading`: by any worker that is alive. `failed`: why a model is not loaded that
    was wanted."""

    default: str
    loaded: frozenset[str]
    loading: frozenset[str]
    failed: Mapping[str, str]

    def allows(self, name: str) -> bool:
        return name in self.names or catalog.find(name) is not None

    @property
    def names(self) -> frozenset[str]:
        """What callers may name: the catalog, and what is loaded, such as a fine-tune."""
        return frozenset(catalog.CATALOG) | self.loaded | {self.default}


async def models_of(pool: Pool, default_model: str) -> Known:
    rows = await query(
        pool,
        "SELECT models, loading FROM musicgen_workers "
        "WHERE seen_at > now() - make_interval(secs => %s) ORDER BY name",
        ALIVE_SECONDS,
    )
    loaded = frozenset(name for row in rows for name in row["models"])
    first = next((row["models"][0] for row in rows if row["models"]), default_model)
    loading = frozenset(row["loading"] for row in rows if row["loading"])
    wanted = await wanted_model(pool)
    # Until somebody has it, jobs are for the one that was there.
    if wanted is None or wanted.name in loaded:
        return Known(wanted.name if wanted else first, loaded, loading, {})
    default = wanted.before if wanted.before and wanted.before in loaded else first
    if wanted.error is not None:
        # A worker says what it loads every few seconds: it may still say so.
        return Known(default, loaded, loading - {wanted.name}, {wanted.name: wanted.error})
    return Known(default, loaded, loading | {wanted.name}, {})


@dataclass(frozen=True)
class Wanted:
    """`error`: why a worker could not load it. `before`: the default until one has."""

    name: str
    error: str | None
    before: str | None


async def wanted_model(pool: Pool) -> Wanted | None:
    rows = await query(pool, "SELECT model AS name, error, before FROM musicgen_wanted")
    return Wanted(**rows[0]) if rows else None


async def want(pool: Pool, model: str, before: str) -> None:
    """Workers load it when they next look, also if they could not before, and it is the default as
    soon as one has; until then `before` is."""
    await query(
        pool,
        "INSERT INTO musicgen_wanted (model, before) VALUES (%s, %s) ON CONFLICT (one) "
        "DO UPDATE SET model = excluded.model, before = excluded.before, error = NULL",
        *(model, before),
    )


async def cannot_load(pool: Pool, model: str, why: str) -> None:
    """Tells those who wait for it, and keeps workers from trying it again and again."""
    await query(pool, "UPDATE musicgen_wanted SET error = %s WHERE model = %s", why, model)


def replies(known: Known) -> list[dict[str, Any]]:
    """The catalog, then what is loaded beside it."""
    own = sorted(known.loaded - set(catalog.CATALOG))
    return [
        *(_reply(entry.name, entry, known) for entry in catalog.CATALOG.values()),
        *(_reply(name, None, known) for name in own),
    ]


def _reply(name: str, entry: catalog.CatalogEntry | None, known: Known) -> dict[str, Any]:
    return {
        "name": name,
        "follows": _follows(entry),
        "channels": entry.channels if entry else 1,
        "licence": entry.licence if entry else catalog.UNKNOWN_LICENCE,
        "memory_gb": _memory(entry),
        "loaded": name in known.loaded,
        "loading": name in known.loading,
        "error": known.failed.get(name),
    }


def _follows(entry: catalog.CatalogEntry | None) -> str:
    if entry is None:
        return "unknown"
    return "text and melody" if entry.family == "melody" else "text"


def _memory(entry: catalog.CatalogEntry | None) -> dict[str, float]:
    memory = entry.memory if entry else {}
    return {precision: round(size / 1e9, 1) for precision, size in memory.items()}
