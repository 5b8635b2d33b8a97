"""Turn rendered objects into templates of Helm: markers for values, conditions around files."""

from __future__ import annotations

import re
from typing import Any

import yaml

_VALUE = re.compile(r"'?@@(.+?)@@'?")
_BLOCK = re.compile(r"^( *)(- )?([\w.\"/-]+): '?@yaml@(.+?)@@'?$", re.M)
_LINES = re.compile(r"^( *)(?:- )?'@lines@(\w+)': null$", re.M)


def mark(expression: str) -> str:
    """Return the marker of a scalar: an expression of Helm without braces."""
    return f"@@{expression}@@"


def mark_block(expression: str) -> str:
    """Return the marker of a mapping or list: an expression of Helm without braces."""
    return f"@yaml@{expression}@@"


def mark_lines(name: str) -> str:
    """Return the key of a marker for the lines of a definition, or none if it is empty."""
    return f"@lines@{name}"


def write_template(item: dict[str, Any], condition: str | None = None) -> str:
    """Return the text of a template. `condition`: the expression under which it is rendered."""
    text = yaml.safe_dump(item, sort_keys=False, width=100_000)
    # Braces of alerts and dashboards belong to Prometheus and Grafana.
    text = re.sub(r"\{\{|\}\}", lambda found: f"{{{{ `{found[0]}` }}}}", text)
    text = _LINES.sub(_write_lines, text)
    text = _BLOCK.sub(_write_block, text)
    text = _VALUE.sub(lambda found: "{{ " + found[1].replace("''", "'") + " }}", text)
    return f"{{{{- if {condition} }}}}\n{text}{{{{- end }}}}\n" if condition else text


def _write_block(found: re.Match[str]) -> str:
    indent, dash, key, expression = found.groups()
    depth = len(indent) + len(dash or "") + 2
    return f"{indent}{dash or ''}{key}: {{{{- toYaml {expression} | nindent {depth} }}}}"


def _write_lines(found: re.Match[str]) -> str:
    include = f'include "musicgen.{found[2]}" .'
    return f"{found[1]}{{{{- with {include} }}}}{{{{ . | nindent {len(found[1])} }}}}{{{{- end }}}}"
