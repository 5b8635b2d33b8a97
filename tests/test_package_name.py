"""The project is not on PyPI, so no text may tell people to install it from there."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.support import ROOT

_INSTALL = re.compile(
    r"\b(?:pip3?|pipx|uvx?|poetry|conda|mamba)\b[^\n`|;&]*\b(?:install|add|run|tool|uvx)\b[^\n`|;&]*?"
    r"(?<![\w/.-])musicgen(?:[-_](?:serverless|client))?(?:\[[\w,]*\])?(?:[=<>~!]=?[\w.]+)?(?![\w/.-])"
)
_ALLOWED = re.compile(r"pip uninstall|uv run musicgen")


def _find(text: str) -> list[str]:
    found = [match[0] for match in _INSTALL.finditer(text)]
    return [command for command in found if not _ALLOWED.search(command)]


@pytest.mark.parametrize(
    ("text", "is_told"),
    [
        ("pip install musicgen-serverless", True),
        ("pip install -U 'musicgen-serverless[plot]'", True),
        ("uv pip install musicgen_client==1.0", True),
        ("pipx install musicgen", True),
        ("uv add musicgen-client", True),
        ("pip install -e '.[plot]'", False),
        ("pip install ./musicgen", False),
        ("pip install torch; musicgen serve all", False),
    ],
)
def test_the_search_finds_what_it_should(text: str, is_told: bool) -> None:
    assert bool(_find(text)) == is_told


def test_no_text_tells_people_to_install_the_project_from_an_index() -> None:
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    told = {}
    for name in files:
        path = ROOT / name
        if not path.is_file() or path.name == "test_package_name.py" or path.suffix == ".wav":
            continue
        try:
            found = _find(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            continue
        if found:
            told[name] = found
    assert told == {}
