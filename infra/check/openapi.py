"""Lint of the OpenAPI document with Redocly, where Node.js is installed."""

from __future__ import annotations

from infra.check.tools import find_tool, lint

DOCUMENT = "docs/openapi.json"
RULES = "clients/typescript/redocly.yaml"


def problems(document: str = DOCUMENT) -> list[str]:
    """Return the lines of Redocly, warnings included; none without Node.js."""
    if find_tool("node") is None:
        return []
    return lint("redocly", "lint", "--config", RULES, document)
