"""The OpenAPI document as a file, without a running server."""

from __future__ import annotations

import json
from pathlib import Path

from handlers.job_api.api.app import make_app
from handlers.job_api.store.files import JobFiles
from musicgen.settings.job_api import ApiSettings


def render() -> str:
    """Return the text of docs/openapi.json. Settings of a server do not change it."""
    files = JobFiles(Path("unused"))
    app = make_app("postgresql://", ApiSettings(), host="127.0.0.1", default_model="", files=files)
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"
