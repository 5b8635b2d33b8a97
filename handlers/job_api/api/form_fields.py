"""The request's fields as a JavaScript module, for the form of the web page."""

from __future__ import annotations

import functools
import json
from typing import Any

from handlers.job_api.api.request_schema import PRIORITY_MAX
from musicgen.request import request_fields
from musicgen.request.fields import FieldSpec


@functools.cache
def build_form_module() -> str:
    """Return an ES module that exports `FIELDS`: label, kind, limits and default by field name."""
    form = {name: _describe(spec) for name, spec in request_fields().items()}
    form["priority"] = {
        "label": "Priority",
        "group": "Queue",
        "kind": "integer",
        "hint": f"Higher is sooner. From {-PRIORITY_MAX} to {PRIORITY_MAX}.",
        "min": -PRIORITY_MAX,
        "max": PRIORITY_MAX,
        "default": 0,
    }
    form["webhook_url"] = {
        "label": "Webhook",
        "group": "Queue",
        "kind": "url",
        "hint": "An http(s) URL to call when the job has ended.",
        "default": "",
    }
    return f"export const FIELDS = {json.dumps(form)};\n"


def _describe(spec: FieldSpec) -> dict[str, Any]:
    limits = f" {spec.range[0].upper()}{spec.range[1:]}." if spec.range else ""
    needs = f" Needs {spec.needs}." if spec.needs else ""
    return {
        "label": spec.label,
        "group": spec.group,
        "kind": spec.kind,
        "hint": f"{spec.help}{limits}{needs}",
        "min": spec.low,
        "max": spec.high,
        "choices": list(spec.choices),
        "default": spec.default,
    }
