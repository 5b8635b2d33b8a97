"""Which models may be asked for, which are loaded, and which one is meant where none is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from handlers.job_api.context import Context
from handlers.job_api.database import Pool, query
from handlers.job_api.status import ALIVE_SECONDS
from musicgen import catalog


@dataclass(frozen=True)
class Known:
    """`loaded` and `loading`: by any worker that is alive."""

    default: str
    loaded: frozenset[str]
    loading: frozenset[str]

    def allows(self, name: str) -> bool:
        return name in self.names or catalog.find(name) is not None

    @property
    def names(self) -> frozenset[str]:
        """What callers may name: the catalog, and what is loaded, such as a fine-tune."""
        return frozenset(catalog.CATALOG) | self.loaded | {self.default}


async def models_of(context: Context) -> Known:
    rows = await query(
        context.pool,
        "SELECT models, loading FROM musicgen_workers "
        "WHERE seen_at > now() - make_interval(secs => %s) ORDER BY name",
        ALIVE_SECONDS,
    )
    loaded = frozenset(name for row in rows for name in row["models"])
    first = next((row["models"][0] for row in rows if row["models"]), context.default_model)
    loading = frozenset(row["loading"] for row in rows if row["loading"])
    wanted = await wanted_model(context.pool)
    # Until somebody has it, jobs are for the one that was there.
    is_there = wanted is not None and wanted in loaded
    default = wanted if wanted is not None and is_there else first
    return Known(default, loaded, loading | ({wanted} if wanted and not is_there else set()))


async def wanted_model(pool: Pool) -> str | None:
    rows = await query(pool, "SELECT model FROM musicgen_wanted")
    return rows[0]["model"] if rows else None


async def want(pool: Pool, model: str) -> None:
    """Workers load it when they next look, and it is the default as soon as one has."""
    await query(
        pool,
        "INSERT INTO musicgen_wanted (model) VALUES (%s) "
        "ON CONFLICT (one) DO UPDATE SET model = excluded.model",
        model,
    )


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
    }


def _follows(entry: catalog.CatalogEntry | None) -> str:
    if entry is None:
        return "unknown"
    return "text and melody" if entry.family == "melody" else "text"


def _memory(entry: catalog.CatalogEntry | None) -> dict[str, float]:
    memory = entry.memory if entry else {}
    return {precision: round(size / 1e9, 1) for precision, size in memory.items()}
