"""The table of settings and docs/settings.md, which is written from it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from infra.generate import settings_page as page
from musicgen.settings.declaration import Declaration
from musicgen.settings.table import list_settings, list_variables
from tests.support import ROOT

DECLARED = [one for group in list_settings().values() for one in group]
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_page_is_what_the_command_writes() -> None:
    written = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    assert written == page.render(), "run python -m infra.generate"


def test_every_variable_is_declared_once() -> None:
    names = [declared.variable for declared in DECLARED]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_every_variable_of_the_documentation_exists(path: Path) -> None:
    named = set(re.findall(r"\bMUSICGEN_[A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8")))
    assert named <= list_variables(), named - list_variables()


@pytest.mark.parametrize("declared", DECLARED, ids=lambda declared: declared.variable)
def test_help_is_whole_sentences_and_has_the_unit(declared: Declaration) -> None:
    assert declared.help[0].isupper() or declared.help[0].isdigit()
    assert declared.help.endswith(".")
    if re.search(r"SECONDS|HOURS|TIMEOUT|DEADLINE|PRICE|CAP$", declared.variable):
        assert declared.unit
    if declared.unit:
        assert f"in {declared.unit}" in declared.help


@pytest.mark.parametrize("declared", DECLARED, ids=lambda declared: declared.variable)
def test_every_default_is_allowed(declared: Declaration) -> None:
    declared.check(declared.default)
