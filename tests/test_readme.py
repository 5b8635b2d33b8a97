"""What the README says is held against the code."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from musicgen import catalog
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


def test_it_stays_short() -> None:
    assert len(README.splitlines()) <= 170


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:docs|bench|tests|infra|handlers)/[\w/.]+)`", README)))
)
def test_every_file_it_names_exists(path: str) -> None:
    assert (ROOT / path).exists()
