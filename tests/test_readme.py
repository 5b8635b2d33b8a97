"""What the README says is held against the code."""

from __future__ import annotations

import re

import pytest

from musicgen import catalog
from tests.support import ROOT

README = (ROOT / "README.md").read_text()


def _table(first_column: str) -> dict[str, list[str]]:
    """Rows of the table whose header begins with `first_column`, by their first cell."""
    lines = README.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first_column} |"))
    rows = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        rows[name.strip("`")] = cells
    return rows


def test_it_opens_with_the_two_commands() -> None:
    first_block = re.search(r"```sh\n(.*?)```", README, re.DOTALL)
    assert first_block and re.findall(r"^make (\w+)", first_block[1], re.M) == ["demo", "test"]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`?make ([a-z]+)", README))))
def test_every_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)


def test_the_table_of_models_is_the_catalog() -> None:
    table = _table("name")
    published = [entry for entry in catalog.CATALOG.values() if entry.source != "package"]
    published += catalog.CONVERTIBLE.values()
    assert len(table) == len(published) + 1
    for entry in published:
        follows, sound, *memory, licence = table[entry.name]
        assert follows == ("text" if entry.family == "text" else f"text and {entry.family}")
        assert sound == ("stereo" if entry.channels == 2 else "mono")
        assert memory == [f"{size / 1e9:.1f} GB" for size in entry.memory.values()]
        assert licence == entry.licence


def test_it_stays_short() -> None:
    assert len(README.splitlines()) <= 170


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:docs|bench|tests|infra|handlers)/[\w/.]+)`", README)))
)
def test_every_file_it_names_exists(path: str) -> None:
    assert (ROOT / path).exists()
