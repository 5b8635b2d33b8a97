"""Needs of a job, and abilities of a worker: both are names in one list.

A worker takes only jobs whose needs are among its abilities. The names are those of parts of clips,
of the decoder by diffusion, and `model:NAME`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from musicgen import catalog
from musicgen.request.limits import ENCODEC, MULTI_BAND_DIFFUSION

PARTS = ("midi", "stems")
DECODER = "decoder"
MODEL = "model:"
"""Beginning of the name of a model among needs."""


def list_needs(request: Mapping[str, Any]) -> list[str]:
    """Return the needs of a request with its fields as in a job's row, sorted."""
    needs = [part for part in PARTS if request.get(part)]
    if request.get(DECODER, ENCODEC) == MULTI_BAND_DIFFUSION:
        needs.append(MULTI_BAND_DIFFUSION)
    if model := request.get("model_version"):
        needs.append(_name_model(model))
    return sorted(needs)


def list_abilities(
    models: Iterable[str], missing: Iterable[str], missing_parts: Iterable[str]
) -> list[str]:
    """Return the abilities of a worker, sorted.

    `models`: its own models, loaded or to be loaded again, besides those of the catalog. `missing`:
    names of the catalog that it cannot have. `missing_parts`: fields of a request that it cannot
    serve.
    """
    names = {*catalog.CATALOG} - {*missing}
    lacks = {name_need(field) for field in missing_parts}
    able = {*PARTS, MULTI_BAND_DIFFUSION} - lacks
    return sorted(able | {_name_model(name) for name in (*names, *models)})


def name_need(field: str) -> str:
    """Return the need of a request with `field`, one of those that a worker may be missing."""
    return MULTI_BAND_DIFFUSION if field == DECODER else field


def find_model(needs: Iterable[str]) -> str | None:
    """Return the model among the needs of a job."""
    return next((need.removeprefix(MODEL) for need in needs if need.startswith(MODEL)), None)


def _name_model(name: str) -> str:
    entry = catalog.find(name)
    return MODEL + (entry.name if entry else name)
