"""Texts of the web page: the same keys in each language, and none outside of the tables."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
from pathlib import Path
from string import Formatter

import pytest

import handlers.job_api
from handlers.job_api.api import error_replies
from handlers.job_api.api.form_fields import build_form_module
from handlers.job_api.errors import ApiError
from handlers.job_api.store import recovery
from musicgen.errors import MusicGenError
from musicgen.errors.request_reasons import REQUEST_REASONS
from musicgen.errors.sound_reasons import SOUND_REASONS
from musicgen.notes import TEXTS as NOTES
from tests.support import ROOT

REASONS = {**SOUND_REASONS, **REQUEST_REASONS}
WEB = ROOT / "handlers" / "job_api" / "web"
ENTRY = re.compile(r'^  "([^"]+)":\s+("(?:[^"\\]|\\.)*"),$', re.MULTILINE)
LITERAL = re.compile(r'"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`')
COMMENT = re.compile(r"/\*.*?\*/|^\s*//.*?$", re.DOTALL | re.MULTILINE)
PROSE = re.compile(r"[A-ZÄÖÜ][a-zäöü]+\s|[a-zäöü]{2,} [a-zäöü]{2,} [a-zäöü]{2,}|[a-zäöü]{2}[.!?]$")
NOT_TEXTS = ("programs.js", "presets.js")
"""Programs and prompts, which are English in every language."""
SCRIPTS = [path for path in sorted((WEB / "js").glob("*.js")) if path.name not in NOT_TEXTS]


def read_table(language: str) -> dict[str, str]:
    """The texts of the page, then those of the server's codes."""
    table: dict[str, str] = {}
    for name in (language, f"server_{language}"):
        text = (WEB / "js" / "texts" / f"{name}.js").read_text(encoding="utf-8")
        part = {key: json.loads(value) for key, value in ENTRY.findall(text)}
        assert list(part) == sorted(part) and not part.keys() & table.keys()
        table |= part
    return table


def test_the_tables_have_the_same_keys_in_order() -> None:
    english, german = read_table("en"), read_table("de")
    assert len(english) > 250
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
    # Those of errors, notes and reasons are found by their code.
    assert {
        key for key in texts - used if not key.startswith(("error.", "note.", "refused."))
    } == set()


def find_codes() -> set[str]:
    """Codes of the errors that a call or a job can have; the model server has no page."""
    for module in pkgutil.walk_packages(handlers.job_api.__path__, "handlers.job_api."):
        importlib.import_module(module.name)
    classes: list[type[Exception]] = [ApiError, MusicGenError]
    for parent in classes:
        classes += parent.__subclasses__()
    sources = "".join(path.read_text() for path in (ROOT / "handlers" / "job_api").rglob("*.py"))
    written = re.findall(r'(?:_error|_body)\(\s*\d+, "(\w+)"|"code": "(\w+)"', sources)
    more = {*error_replies._CODES.values(), recovery._ATTEMPTS_EXHAUSTED}
    own = {
        vars(cls).get("code", cls.code) for cls in classes if "model_server" not in cls.__module__
    }
    return {*own, *sum(written, ()), *more} - {""}


def test_each_code_of_the_server_has_a_text_in_each_language() -> None:
    codes = find_codes()
    assert {"attempts_exhausted", "database_away", "body_too_slow", "model_unavailable"} <= codes
    for language in ("en", "de"):
        texts = read_table(language)
        assert {code for code in codes if f"error.{code}" not in texts} == set()
        assert {key[5:] for key in texts if key.startswith("note.")} == set(NOTES)
        assert {key[8:] for key in texts if key.startswith("refused.")} == set(REASONS)


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


def test_the_text_of_a_reason_has_only_values_that_the_server_sends() -> None:
    for language in ("en", "de"):
        texts = read_table(language)
        for code, text in REASONS.items():
            sent = {name for _, name, _, _ in Formatter().parse(text) if name}
            assert set(re.findall(r"\{(\w+)\}", texts[f"refused.{code}"])) <= sent, code


def test_each_reason_has_one_code() -> None:
    assert len(REASONS) == len(SOUND_REASONS) + len(REQUEST_REASONS)
    sources = [
        path.read_text(encoding="utf-8")
        for folder in ("musicgen", "handlers")
        for path in (ROOT / folder).rglob("*.py")
        if path.name not in ("sound_reasons.py", "request_reasons.py")
    ]
    used = {*re.findall(r'Reason\(\s*"(\w+)"', "".join(sources))}
    by_kind = {f"{kind}_{limits}" for kind in ("number", "whole") for limits in ("from", "between")}
    assert used | by_kind == {*REASONS}


WITH_LIMITS = ("InvalidRequest", "InvalidContinuation", "InvalidInputAudio", "InvalidDuration")
"""Errors with a text on the page that does not say what is wrong."""
MADE_FROM_THE_FORM = (
    "musicgen/request/rules.py",
    "musicgen/engine/interface.py",
    "musicgen/engine/transformers_engine.py",
    "musicgen/engine/native/backend.py",
    "musicgen/engine/pytorch/diffusion.py",
    "musicgen/predictor/prepare.py",
    "musicgen/predictor/style.py",
    "musicgen/audio/decode.py",
    "handlers/job_api/store/upload_files.py",
)


@pytest.mark.parametrize("name", MADE_FROM_THE_FORM)
def test_no_problem_of_the_form_is_english_prose(name: str) -> None:
    """The German page showed the server's English sentence."""
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    prose = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in WITH_LIMITS
        and isinstance(node.args[1], (ast.Constant, ast.JoinedStr))
    ]
    prose += [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and ast.unparse(node.targets[0]) == "problem"
        and isinstance(node.value, (ast.Constant, ast.JoinedStr))
        # Errors of settings, and of a text's length, have a text on the page.
        and not re.search("characters|MUSICGEN_", ast.unparse(node.value))
    ]
    assert prose == []
