"""What the README says is held against the code."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from musicgen import catalog
from musicgen.request import GenerationRequest
from musicgen.settings import Settings

ROOT = Path(__file__).parent.parent
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


@pytest.mark.parametrize("target", set(re.findall(r"`?make ([a-z]+)", README)))
def test_every_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)


def test_the_table_of_models_is_the_catalog() -> None:
    table = _table("name")
    published = [entry for entry in catalog.CATALOG.values() if entry.source != "package"]
    assert len(table) == len(published) + 1
    for entry in published:
        follows, sound, float32, bfloat16, licence = table[entry.name]
        assert follows == ("text" if entry.family == "text" else "text and melody")
        assert sound == ("stereo" if entry.channels == 2 else "mono")
        assert [float32, bfloat16] == [f"{size / 1e9:.1f} GB" for size in entry.memory.values()]
        assert licence == entry.licence


def test_the_table_of_fields_is_the_request() -> None:
    table = _table("field")
    assert set(table) == {field.name for field in fields(GenerationRequest)}
    for field in fields(GenerationRequest):
        default = table[field.name][0]
        assert field.default is not MISSING
        if field.default not in (None, ""):
            written = str(field.default).lower().removesuffix(".0")
            assert default == written, field.name


def test_the_table_of_settings_is_the_settings() -> None:
    table = _table("variable")
    assert set(table) == {f"MUSICGEN_{field.name.upper()}" for field in fields(Settings)}
    for field in fields(Settings):
        if field.default is not None:
            assert table[f"MUSICGEN_{field.name.upper()}"][0] == str(field.default)


@pytest.mark.parametrize("path", set(re.findall(r"`((?:docs|bench|tests)/[\w/.]+)`", README)))
def test_every_file_it_names_exists(path: str) -> None:
    assert (ROOT / path).exists()
