"""The routes of an application, as they are, so that no new one is forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from handlers.job_api.api.app import make_app
from handlers.job_api.store.files import JobFiles
from musicgen.settings.job_api import ApiSettings

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def job_api(folder: Path) -> FastAPI:
    """The application, not started."""
    files, settings = JobFiles(folder), ApiSettings()
    return make_app("postgresql://", settings, host="127.0.0.1", default_model="x", files=files)


def list_routes(routes: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Method and path of each route, also of included routers; mounted files are read only."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from list_routes(included.routes, prefix + route.include_context.prefix)
        else:
            for method in getattr(route, "methods", None) or ("GET",):
                if method in METHODS:
                    yield method, prefix + route.path
