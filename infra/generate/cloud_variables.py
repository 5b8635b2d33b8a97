"""Variables of both clouds below infra/terraform: one source, and a copy in each folder.

A module of OpenTofu reads no file outside its folder, and a link would be none on Windows.
"""

from __future__ import annotations

from infra.check.terraform.modules import FOLDER

SOURCE = "common.tf"
CLOUDS = ("aws", "google")
HEADER = f"# Copied from ../{SOURCE} by `python -m infra.generate`. Change it there.\n"


def render() -> str:
    """Return the content of a copy: the source with another first line."""
    _, _, variables = (FOLDER / SOURCE).read_text(encoding="utf-8").partition("\n")
    return HEADER + variables
