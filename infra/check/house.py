"""The shape of the code: sizes, names, English and imports, each counted and bounded.

`python -m infra.check house` prints every figure beside its bound. Packages are `musicgen` and
`handlers` with the files at the top level; sizes count `infra` and `bench` too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.check.imports import circles, imports_that_go_up
from infra.check.tools import ROOT

FILE_LINES, TEST_LINES, FUNCTION_LINES = 300, 400, 60
RELATIVE = {"that", "which", "what", "who", "whose", "where", "whoever", "whatever"}
# Verbs and nouns with a participle's ending.
NOT_PARTICIPLES = {"need", "embed", "feed", "seed", "speed", "shed", "red"}
IRREGULAR = {
    *("told", "taken", "held", "found", "known", "given", "made", "done", "kept", "lost", "sent"),
    *("begun", "shown", "written", "gone", "meant", "built", "chosen", "drawn", "heard", "left"),
    *("met", "paid", "said", "seen", "sold", "spoken", "spent", "understood"),
}
_PARTICIPLE = re.compile(r"[a-z]{2,}(?:ed|wn)")


@dataclass(frozen=True)
class Figure:
    """One count, with its bound: `value` may be at most `most`."""

    name: str
    value: float
    most: float

    @property
    def is_kept(self) -> bool:
        return self.value <= self.most


def problems() -> list[str]:
    """Return the figures out of bounds, each as one line."""
    return [f"{f.name}: {f.value:g}, at most {f.most:g}" for f in figures() if not f.is_kept]


def figures() -> list[Figure]:
    """Count everything this check bounds."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sources()}
    names = [node.name for _, node in functions(trees)]
    return [
        Figure("modules directly in musicgen/", _modules_in("musicgen"), 6),
        Figure("modules directly in handlers/job_api/", _modules_in("handlers/job_api"), 6),
        Figure(f"files over {FILE_LINES} lines", len(_long_files(sources(), FILE_LINES)), 0),
        Figure(f"tests over {TEST_LINES} lines", len(_long_files(tests(), TEST_LINES)), 5),
        Figure(f"functions over {FUNCTION_LINES} lines", len(_long_functions(trees)), 0),
        Figure("import circles", len(circles(trees)), 0),
        Figure("imports that go up", len(imports_that_go_up(trees)), 0),
        Figure(
            "functions named by a past participle, %",
            round(100 * sum(map(is_participle, names)) / len(names), 1),
            11,
        ),
        Figure("relative words in 1,000 of prose", round(relative_words(prose_by_file())), 44),
    ]


def sources() -> list[Path]:
    """Return the Python files of the product, tests excepted."""
    folders = ("musicgen", "handlers", "infra", "bench")
    return sorted([*ROOT.glob("*.py"), *(p for f in folders for p in (ROOT / f).rglob("*.py"))])


def tests() -> list[Path]:
    """Return the Python files of the tests."""
    return sorted((ROOT / "tests").rglob("*.py"))


def functions(
    trees: Mapping[Path, ast.Module],
) -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield every function and method, with its file."""
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield path, node


def is_participle(name: str) -> bool:
    """Whether a function is named by what was done to something, as in `packed` or `_told_by`."""
    first = name.strip("_").split("_")[0]
    return first in IRREGULAR or (
        first not in NOT_PARTICIPLES and _PARTICIPLE.fullmatch(first) is not None
    )


def prose_by_file() -> dict[Path, str]:
    """Return docstrings and comments of the product, and its documentation without code blocks."""
    prose = {}
    for path in sources():
        if path.is_relative_to(ROOT / "bench"):
            continue
        prose[path] = python_prose(path.read_text(encoding="utf-8"))
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        prose[path] = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return prose


def python_prose(source: str) -> str:
    """Return the docstrings and whole-line comments of a Python file."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    documented = [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
    comments = re.findall(r"^\s*# (.*)$", source, flags=re.MULTILINE)
    return " ".join([*(ast.get_docstring(node) or "" for node in documented), *comments])


def relative_words(prose: Mapping[Path, str]) -> float:
    """Return how many of 1,000 words begin a relative clause, or may."""
    words = [word.lower() for text in prose.values() for word in re.findall(r"[A-Za-z']+", text)]
    return 1000 * sum(word in RELATIVE for word in words) / max(1, len(words))


def _modules_in(folder: str) -> int:
    """Count modules, not the package's own `__init__`."""
    return len([p for p in (ROOT / folder).glob("*.py") if p.name != "__init__.py"])


def _long_files(paths: list[Path], most: int) -> list[Path]:
    return [p for p in paths if len(p.read_text(encoding="utf-8").splitlines()) > most]


def _long_functions(trees: Mapping[Path, ast.Module]) -> list[str]:
    return [
        f"{path}:{node.name}"
        for path, node in functions(trees)
        if (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES
    ]
