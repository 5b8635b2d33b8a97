"""Each route of the API is a door in docs/security.md."""

from __future__ import annotations

from pathlib import Path

from tests.support import ROOT
from tests.support.routes import job_api, list_routes


def test_each_route_is_a_door_with_a_row(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    doors = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    routes = set(list_routes(job_api(tmp_path).routes))
    assert ("POST", "/generate") in routes and len(routes) > 15
    missing = [
        f"{method} {path}"
        for method, path in sorted(routes)
        if not any(f"`{method} {path}`" in door for door in doors)
    ]
    assert not missing
