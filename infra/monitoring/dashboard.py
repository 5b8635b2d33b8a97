"""Build the Grafana dashboard: `python -m infra.monitoring.dashboard > dashboard.json`.

Import the file in Grafana, or mount it in the folder of its provisioning. Grafana then asks for the
Prometheus data source.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from infra.monitoring.panels import ROWS, Panel

WIDTH, COLUMNS, HEIGHT = 24, 3, 8
_SOURCE = {"type": "prometheus", "uid": "${prometheus}"}


def build_dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana's JSON model."""
    return {
        "uid": "musicgen",
        "title": "MusicGen",
        "tags": ["musicgen"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [{"name": "prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": list(_panels()),
    }


def _panels() -> Iterator[dict[str, Any]]:
    number, y = 0, 0
    for title, panels in ROWS.items():
        number += 1
        place = {"x": 0, "y": y, "w": WIDTH, "h": 1}
        yield {"id": number, "type": "row", "title": title, "gridPos": place, "panels": []}
        y += 1
        for index, panel in enumerate(panels):
            number += 1
            column, line = index % COLUMNS, index // COLUMNS
            width = WIDTH // COLUMNS
            place = {"x": column * width, "y": y + line * HEIGHT, "w": width, "h": HEIGHT}
            yield _panel(panel, number, place)
        y += -(-len(panels) // COLUMNS) * HEIGHT


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "custom": {"fillOpacity": 8}},
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "expr": expression,
                "legendFormat": legend,
                "datasource": _SOURCE,
            }
            for index, (legend, expression) in enumerate(panel.queries.items())
        ],
    }


def main() -> None:
    """Write the dashboard to standard output."""
    json.dump(build_dashboard(), sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
