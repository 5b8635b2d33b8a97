"""The pages of docs/ say what was measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.page import DOCS, PAGES, RESULTS, ROOT, rewrite_tables


@pytest.mark.parametrize("name", PAGES)
def test_tables_are_what_their_files_say(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    assert rewrite_tables(page) == page, "run python bench/page.py"


def test_every_result_is_in_a_page() -> None:
    text = "".join((DOCS / name).read_text(encoding="utf-8") for name in PAGES)
    for result in RESULTS.glob("*.json"):
        assert result.stem in text


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted(DOCS.glob("*.md")), ids=str)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_door_has_its_limits_and_an_existing_test() -> None:
    text = (DOCS / "security.md").read_text(encoding="utf-8")
    head, _, *rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == head.count("|") - 1 and all(cells), row
        tests = re.findall(r"`(tests/[^`]+)`", cells[-1])
        assert tests and all((ROOT / test).exists() for test in tests), row
