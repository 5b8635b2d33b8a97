"""Texts of the web page: the same keys in each language, and none outside of the tables."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from handlers.job_api.api.form_fields import build_form_module
from tests.support import ROOT

WEB = ROOT / "handlers" / "job_api" / "web"
ENTRY = re.compile(r'^  "([^"]+)":\s+("(?:[^"\\]|\\.)*"),$', re.MULTILINE)
LITERAL = re.compile(r'"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`')
COMMENT = re.compile(r"/\*.*?\*/|^\s*//.*?$", re.DOTALL | re.MULTILINE)
PROSE = re.compile(r"[A-ZÄÖÜ][a-zäöü]+\s|[a-zäöü]{2,} [a-zäöü]{2,} [a-zäöü]{2,}|[a-zäöü]{2}[.!?]$")
NOT_TEXTS = ("programs.js", "presets.js")
"""Programs and prompts, which are English in every language."""
SCRIPTS = [path for path in sorted((WEB / "js").glob("*.js")) if path.name not in NOT_TEXTS]


def read_table(language: str) -> dict[str, str]:
    text = (WEB / "js" / "texts" / f"{language}.js").read_text(encoding="utf-8")
    return {key: json.loads(value) for key, value in ENTRY.findall(text)}


def test_the_tables_have_the_same_keys_in_order() -> None:
    english, german = read_table("en"), read_table("de")
    assert list(english) == sorted(english) and len(english) > 200
    assert list(german) == list(english)


def test_a_text_has_the_same_values_in_each_language() -> None:
    german = read_table("de")
    for key, text in read_table("en").items():
        values = [sorted(re.findall(r"\{\w+\}", each)) for each in (text, german[key])]
        assert values[0] == values[1], key


def test_each_key_in_use_exists_and_each_text_is_used() -> None:
    scripts = "".join(path.read_text(encoding="utf-8") for path in (WEB / "js").glob("*.js"))
    page = (WEB / "index.html").read_text(encoding="utf-8")
    used = set(re.findall(r'data-text(?:-[a-z-]+)?="([^"]+)"', page))
    counted = set(re.findall(r'sayCount\(\s*"([^"]+)"', scripts))
    used |= {f"{key}.{form}" for key in counted for form in ("one", "other")}
    used |= set(re.findall(r'"([a-z][a-z-]*\.[a-z][a-z_-]*)"', scripts)) - counted - {"a.past"}
    texts = set(read_table("en"))
    assert used - texts == set()
    # Those of errors are found by the code of an error.
    assert {key for key in texts - used if not key.startswith("error.")} == set()


def test_the_page_is_english_where_it_is_not_translated() -> None:
    page = (WEB / "index.html").read_text(encoding="utf-8")
    english = read_table("en")
    shown = re.findall(r'<\w+[^>]*?data-text="([^"]+)"[^>]*>([^<]*)<', page)
    assert len(shown) > 30
    for key, text in shown:
        assert " ".join(text.split()) == english[key]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_text_stands_in_a_script(path: Path) -> None:
    code = COMMENT.sub("", path.read_text(encoding="utf-8"))
    code = re.sub(r'class: "[^"]*"', "", code)
    found = [text for text in LITERAL.findall(code) if PROSE.search(text[1:-1])]
    assert found == []


def test_each_field_has_a_german_label_and_hint() -> None:
    fields = json.loads(build_form_module().removeprefix("export const FIELDS = ").rstrip(";\n"))
    german = (WEB / "js" / "texts" / "fields_de.js").read_text(encoding="utf-8")
    named = set(re.findall(r"^  (\w+): \{", german, re.MULTILINE))
    assert named == set(fields)
    assert german.count("label:") == german.count("hint:") == len(fields)
