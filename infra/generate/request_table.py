"""The table of request fields in docs/requests.md."""

from __future__ import annotations

import json

from infra.generate.blocks import replace_blocks
from musicgen.request import request_fields
from musicgen.request.fields import FieldSpec


def render(text: str) -> str:
    """Return the text of docs/requests.md with its table written anew."""
    rows = "".join(f"{_row(spec)}\n" for spec in request_fields().values())
    head = "\n| field | default | allowed | meaning | example |\n|---|---|---|---|---|\n"
    return replace_blocks(text, "fields", f"{head}{rows}\n")


def _row(spec: FieldSpec) -> str:
    cog = "" if spec.on_cog else " Not on Cog."
    example = json.dumps(spec.example)
    cells = (f"`{spec.name}`", _default(spec), _allowed(spec), f"{spec.description}{cog}")
    return f"| {' | '.join(cells)} | `{example}` |"


def _default(spec: FieldSpec) -> str:
    if spec.default in (None, ""):
        return ""
    return f"`{json.dumps(spec.default)}`"


def _allowed(spec: FieldSpec) -> str:
    if spec.choices and spec.kind == "choice":
        unit = f" {spec.unit}" if spec.unit else ""
        return ", ".join(f"`{choice}`" for choice in spec.choices) + unit
    return spec.allowed
