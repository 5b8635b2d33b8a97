"""Component `monitoring`: the rules of Prometheus as an object of its operator."""

from __future__ import annotations

from typing import Any

import yaml

_HEAD = "# Written by `python -m infra.generate` from infra/monitoring/rules.yml; do not edit it.\n"


def render(rules: str) -> str:
    """Return the PrometheusRule with the groups of a rule file."""
    resource: dict[str, Any] = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "musicgen"},
        "spec": {"groups": yaml.safe_load(rules)["groups"]},
    }
    text: str = yaml.safe_dump(resource, sort_keys=False, width=96)
    return _HEAD + text
