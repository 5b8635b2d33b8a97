"""`python -m infra.generate`: write every generated file anew, or check that all are current.

    python -m infra.generate            # after a change of a declaration or an alert
    python -m infra.generate --check    # exit status 1, with the names, if a file is not current

Run it after changing a declaration, and commit what it writes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from handlers.job_api.api.openapi.file import render as render_openapi
from infra.check.tools import ROOT
from infra.generate import (
    client_types,
    cloud_variables,
    cog_inputs,
    error_page,
    prometheus_rule,
    request_table,
    settings_page,
)
from infra.replicate import openapi_schema

Render = Callable[[str], str]
FILES: dict[str, Render] = {
    "predict.py": cog_inputs.render,
    ".cog/openapi_schema.json": lambda _: openapi_schema.render(
        (ROOT / "predict.py").read_text(encoding="utf-8")
    ),
    "musicgen_client/fields.py": lambda _: client_types.render(),
    "docs/openapi.json": lambda _: render_openapi(),
    "docs/requests.md": request_table.render,
    "docs/settings.md": lambda _: settings_page.render(),
    "docs/errors.md": error_page.render,
    **{
        f"infra/terraform/{cloud}/{cloud_variables.SOURCE}": lambda _: cloud_variables.render()
        for cloud in cloud_variables.CLOUDS
    },
    "infra/k8s/components/monitoring/rules.yaml": lambda _: prometheus_rule.render(
        (ROOT / "infra/monitoring/rules.yml").read_text(encoding="utf-8")
    ),
}
"""For each file the function that returns its new content, given the present one."""


def main(arguments: list[str] | None = None) -> int:
    """Write or check the files; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.generate", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    is_check = parser.parse_args(arguments).check
    stale = [name for name, render in FILES.items() if _update(ROOT / name, render, is_check)]
    for name in stale:
        verb = "is not current: run python -m infra.generate" if is_check else "was written"
        sys.stdout.write(f"{name} {verb}\n")
    return 1 if stale and is_check else 0


def _update(path: Path, render: Render, is_check: bool) -> bool:
    """Return whether a file was not current; write it unless `is_check`."""
    present = path.read_text(encoding="utf-8") if path.exists() else ""
    content = render(present)
    if content != present and not is_check:
        path.write_text(content, encoding="utf-8")
    return content != present


if __name__ == "__main__":
    sys.exit(main())
