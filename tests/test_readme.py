"""What the README says is held against the code."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields

import pytest

from handlers.contract import status_of
from musicgen import catalog
from musicgen.errors import MusicGenError
from musicgen.request import GenerationRequest
from musicgen.settings import BucketSettings, Settings
from musicgen.settings.job_api import ApiSettings
from musicgen.settings.remote import VARIABLES, RemoteSettings
from tests.support import ROOT

README = (ROOT / "README.md").read_text()

API_NAMES = {
    "database_url": "DATABASE_URL",
    "auth": "MUSICGEN_API_AUTH",
    "drain": "MUSICGEN_DRAIN_SECONDS",
}


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
    assert len(table) == len(published) + 1
    for entry in published:
        follows, sound, *memory, licence = table[entry.name]
        assert follows == ("text" if entry.family == "text" else "text and melody")
        assert sound == ("stereo" if entry.channels == 2 else "mono")
        assert memory == [f"{size / 1e9:.1f} GB" for size in entry.memory.values()]
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


def test_the_tables_of_settings_are_the_settings() -> None:
    own = {f"MUSICGEN_{field.name.upper()}": field.default for field in fields(Settings)}
    del own["MUSICGEN_BUCKET"], own["MUSICGEN_REMOTE"]
    own |= {VARIABLES[field.name]: field.default for field in fields(RemoteSettings)}
    bucket = {f"MUSICGEN_BUCKET_{field.name.upper()}": field for field in fields(BucketSettings)}
    defaults = {name: field.default for name, field in bucket.items()}
    defaults["MUSICGEN_BUCKET"] = defaults.pop("MUSICGEN_BUCKET_NAME")
    api = {
        API_NAMES.get(f.name, f"MUSICGEN_{f.name.upper()}"): f.default for f in fields(ApiSettings)
    }
    del api["MUSICGEN_DATA_DIR"]  # everybody's
    tables = {"variable": own, "variable of the bucket": defaults, "variable of the job API": api}
    for header, wanted in tables.items():
        table = _table(header)
        assert set(table) == set(wanted)
        for name, default in wanted.items():
            if default not in (None, ()):
                number = isinstance(default, (int, float))
                written = f"{default:g}" if number and default < 1e4 else str(default)
                assert table[name][0] == written, name


def test_the_table_of_errors_is_the_tree() -> None:
    """Every code stands in the row of the status that it has."""
    tree = [MusicGenError]
    for cls in tree:
        tree += [
            each for each in cls.__subclasses__() if each.__module__.startswith("musicgen.errors.")
        ]
    public = [cls for cls in tree if not cls.__name__.startswith("_")]
    table = _table("status")
    for status, (codes, advice) in table.items():
        wanted = {cls.code for cls in public if status_of(cls.__new__(cls)) == int(status)}
        assert set(re.findall(r"`(\w+)`", codes)) == wanted, status
        assert advice
    assert {str(status_of(cls.__new__(cls))) for cls in public} == set(table)


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:docs|bench|tests|infra|handlers)/[\w/.]+)`", README)))
)
def test_every_file_it_names_exists(path: str) -> None:
    assert (ROOT / path).exists()
