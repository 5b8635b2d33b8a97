"""Models of the API: the available, loaded and loading ones, and the default of requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from handlers.job_api.store import queue
from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.queue_load import ALIVE_SECONDS
from handlers.job_api.store.texts import escape, to_jsonb
from musicgen import catalog
from musicgen.catalog import UNKNOWN_LICENCE


class LoadFailure(NamedTuple):
    """Why a model could not be loaded. `code`: None from an older worker."""

    text: str
    code: str | None


@dataclass(frozen=True)
class AvailableModels:
    """Models at one moment.

    `default`: for requests without a model. `loaded`, `loading`: by any living worker. `failures`:
    reasons by model, for a requested model with a failed load. `licences`: by model, of loaded ones
    outside the catalog. `missing`: names of the catalog that no living worker can have.
    `missing_parts`: fields that no living worker can serve, each with what to do about it.
    `abilities`: of each living worker of local jobs, None for any job.
    """

    default: str
    loaded: frozenset[str]
    loading: frozenset[str]
    failures: Mapping[str, LoadFailure]
    licences: Mapping[str, str]
    missing: frozenset[str] = frozenset()
    missing_parts: Mapping[str, str] = field(default_factory=dict)
    abilities: tuple[frozenset[str] | None, ...] = ()

    def can_make(self, needs: Sequence[str]) -> bool:
        """Return whether a worker may come to a job: without any worker nothing is known."""
        able = [known is None or known.issuperset(needs) for known in self.abilities]
        return not able or any(able)

    def is_available(self, name: str) -> bool:
        """Return whether a request may name this model, by any name of the catalog."""
        return name in self.names or catalog.find(name) is not None

    def is_missing(self, name: str) -> bool:
        """Return whether no living worker can load this model, by any name of the catalog."""
        entry = catalog.find(name)
        return name not in self.loaded and entry is not None and entry.name in self.missing

    @property
    def names(self) -> frozenset[str]:
        """Names for requests: the catalog, and loaded models such as a fine-tuned one."""
        return frozenset(catalog.CATALOG) | self.loaded | {self.default}


async def find_available_models(pool: Pool, default_model: str) -> AvailableModels:
    """Return the models of the living workers. `default_model`: the default without a worker."""
    rows = await query(
        pool,
        "SELECT models, loading, licences, missing, makes, missing_parts, abilities "
        "FROM musicgen_workers "
        "WHERE seen_at > now() - make_interval(secs => %s) ORDER BY name",
        ALIVE_SECONDS,
    )
    loaded = frozenset(name for row in rows for name in row["models"])
    first = next((row["models"][0] for row in rows if row["models"]), default_model)
    loading = frozenset(row["loading"] for row in rows if row["loading"])
    licences = {name: text for row in rows for name, text in row["licences"].items()}
    every = [frozenset(row["missing"]) for row in rows]
    missing = frozenset.intersection(*every) - loaded if every else frozenset()
    local = [row["abilities"] for row in rows if row["makes"] == queue.LOCAL]
    abilities = tuple(None if names is None else frozenset(names) for names in local)
    found = licences, missing, join_missing_parts(rows), abilities
    requested = await read_requested_model(pool)
    # The requested model becomes the default only once a worker has loaded it.
    if requested is None or requested.name in loaded:
        return AvailableModels(requested.name if requested else first, loaded, loading, {}, *found)
    default = requested.before if requested.before and requested.before in loaded else first
    if requested.error is not None:
        # The worker's row may still say "loading": it is written only every few seconds.
        failures = {requested.name: LoadFailure(requested.error, requested.error_code)}
        others = loading - {requested.name}
        return AvailableModels(default, loaded, others, failures, *found)
    return AvailableModels(default, loaded, loading | {requested.name}, {}, *found)


def join_missing_parts(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the parts missing on every worker of local jobs: no other worker makes parts."""
    every = [row["missing_parts"] for row in rows if row["makes"] == queue.LOCAL]
    first = every[0] if every else {}
    return {name: text for name, text in first.items() if all(name in one for one in every)}


@dataclass(frozen=True)
class WorkerRow:
    """A worker as it tells of itself.

    `makes`: its queue. `licences`: by model, of those outside the catalog. `fetches`: whether it
    fetches the sounds of waiting jobs. `missing`: names of the catalog that it cannot have.
    `missing_parts`: fields that it cannot serve, each with what to do about it. `abilities`: the
    needs of jobs that it takes, None for any.
    """

    name: str
    slots: int
    makes: str
    models: Sequence[str]
    loading: str | None
    licences: Mapping[str, str]
    fetches: bool = False
    missing: Sequence[str] = ()
    missing_parts: Mapping[str, str] = field(default_factory=dict)
    abilities: Sequence[str] | None = None


async def write_worker(pool: Pool, row: WorkerRow) -> None:
    """Write a living worker's row, with the time."""
    await query(
        pool,
        "INSERT INTO musicgen_workers (name, slots, makes, models, loading, licences, fetches, "
        "missing, missing_parts, abilities, seen_at) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, now()) "
        "ON CONFLICT (name) DO UPDATE SET slots = excluded.slots, "
        "makes = excluded.makes, models = excluded.models, loading = excluded.loading, "
        "licences = excluded.licences, "
        "fetches = excluded.fetches, missing = excluded.missing, "
        "missing_parts = excluded.missing_parts, abilities = excluded.abilities, seen_at = now()",
        *(row.name, row.slots, row.makes, list(row.models), row.loading),
        *(to_jsonb(row.licences), row.fetches, list(row.missing), to_jsonb(row.missing_parts)),
        None if row.abilities is None else list(row.abilities),
    )


@dataclass(frozen=True)
class RequestedModel:
    """Model for the workers to load.

    `error`: reason of a failed load, with its stable code unless an older worker wrote it.
    `before`: the default model until it is loaded.
    """

    name: str
    error: str | None
    error_code: str | None
    before: str | None


async def read_requested_model(pool: Pool) -> RequestedModel | None:
    """Return the model last requested by a caller, or None."""
    rows = await query(pool, "SELECT model AS name, error, error_code, before FROM musicgen_wanted")
    return RequestedModel(**rows[0]) if rows else None


async def request_model(pool: Pool, model: str, before: str) -> None:
    """Ask the workers to load a model, also after a failed load.

    It becomes the default once a worker has loaded it; until then `before` is the default.
    """
    await query(
        pool,
        "INSERT INTO musicgen_wanted (model, before) VALUES (%s, %s) ON CONFLICT (one) "
        "DO UPDATE SET model = excluded.model, before = excluded.before, error = NULL, "
        "error_code = NULL",
        *(model, before),
    )


async def record_load_failure(pool: Pool, model: str, reason: str, code: str) -> None:
    """Store why a model could not be loaded, for its callers; workers stop trying it."""
    await query(
        pool,
        "UPDATE musicgen_wanted SET error = %s, error_code = %s WHERE model = %s",
        *(escape(reason), code, model),
    )


async def find_licence(pool: Pool, name: str) -> str:
    """Return the licence of a model by any of its names."""
    if (entry := catalog.find(name)) is not None:
        return entry.licence
    return (await find_available_models(pool, name)).licences.get(name, UNKNOWN_LICENCE)


def describe_models(available: AvailableModels) -> list[dict[str, Any]]:
    """Return the JSON of each model: the catalog, then other loaded models."""
    others = sorted(available.loaded - set(catalog.CATALOG))
    return [
        *(_describe(entry.name, entry, available) for entry in catalog.CATALOG.values()),
        *(_describe(name, catalog.find_convertible(name), available) for name in others),
    ]


def _describe(
    name: str, entry: catalog.CatalogEntry | None, available: AvailableModels
) -> dict[str, Any]:
    failure = available.failures.get(name)
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": _owner(entry),
        "follows": _conditioning(entry),
        "channels": entry.channels if entry else 1,
        "licence": available.licences.get(name, entry.licence if entry else UNKNOWN_LICENCE),
        "memory_gb": _memory(entry),
        "available": name not in available.missing,
        "loaded": name in available.loaded,
        "loading": name in available.loading,
        "error": failure and failure.text,
        "error_code": failure and failure.code,
    }


def _owner(entry: catalog.CatalogEntry | None) -> str:
    """Return the publisher of the weights; those outside the catalog are the operator's."""
    if entry is None:
        return "operator"
    return "meta" if entry.source.startswith("facebook/") else "musicgen"


def _conditioning(entry: catalog.CatalogEntry | None) -> str:
    if entry is None:
        return "unknown"
    return "text" if entry.family == "text" else f"text and {entry.family}"


def _memory(entry: catalog.CatalogEntry | None) -> dict[str, float]:
    memory = entry.memory if entry else {}
    return {precision: round(size / 1e9, 1) for precision, size in memory.items()}
