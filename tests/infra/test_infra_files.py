"""Dockerfiles, scripts, workflows and rules are clean, and the linters find mistakes."""

from __future__ import annotations

import functools
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from infra.check import files, tools
from infra.check.__main__ import CHECKS, main
from infra.generate.raises import read_messages
from musicgen import errors
from tests.support import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
COPIED = (".github", "infra", ".runpod", ".ci")
_TOOLS = ("hadolint", "shellcheck", "actionlint", "zizmor", "promtool")
needs_tools = pytest.mark.skipif(
    any(tools.find_tool(name) is None for name in _TOOLS),
    reason="needs the linters: `make check-infra` brings all but promtool",
)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the checked files, to plant mistakes in."""
    for name in COPIED:
        shutil.copytree(ROOT / name, tmp_path / name)
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setattr(tools, "ROOT", tmp_path)
    return tmp_path


def _replace(path: str, old: str, new: str) -> Callable[[Path], None]:
    def plant(tree: Path) -> None:
        text = (tree / path).read_text()
        assert old in text
        (tree / path).write_text(text.replace(old, new, 1))

    return plant


PLANTED = {
    "a command that is no list": (
        _replace(
            "infra/docker/api.Dockerfile",
            'CMD ["python", "-m", "handlers.cli", "serve", "api", "--host", "0.0.0.0", "--port", '
            '"8000"]',
            "CMD python -m handlers.cli serve api",
        ),
        files.check_dockerfiles,
        "DL3025",
    ),
    "an image without a version": (
        _replace("infra/docker/worker.Dockerfile", "FROM ${BASE}\n", "FROM python:latest\n"),
        files.check_dockerfiles,
        "DL3007",
    ),
    "an unquoted variable": (
        _replace(".ci/run", 'cd "$(dirname "$0")/.."', "cd $(dirname $0)/.."),
        files.check_scripts,
        "SC2046|SC2086",
    ),
    "a key that there is not": (
        _replace(".github/workflows/check.yml", "timeout-minutes: 95", "timeout-minute: 60"),
        files.check_workflows,
        "timeout-minute",
    ),
    "an action that may move": (
        _replace(
            ".github/workflows/images.yml",
            "setup-buildx-action@e468171a9de216ec08956ac3ada2f0791b6bd435",
            "setup-buildx-action@v3",
        ),
        files.check_workflows,
        "unpinned-uses",
    ),
    "a caller's text in a script": (
        _replace(
            ".github/workflows/push-huggingface.yml",
            '--model "$MODEL"',
            "--model ${{ inputs.name }}",
        ),
        files.check_workflows,
        "template-injection",
    ),
    "a parenthesis": (
        _replace("infra/monitoring/rules.yml", "max(musicgen_slots)", "max(musicgen_slots"),
        files.check_rules,
        "unclosed left parenthesis",
    ),
    "an alert that never fires": (
        _replace(
            "infra/monitoring/rules.yml", "musicgen_spool_clips) > 0", "musicgen_spool_clips) > 9"
        ),
        files.check_rules,
        "MusicGenClipsNotUploaded",
    ),
    "a configuration that nobody reads": (
        _replace("infra/monitoring/prometheus.yml", "scrape_interval", "scrape_intervall"),
        files.check_rules,
        "scrape_intervall",
    ),
}


@needs_tools
@pytest.mark.parametrize(
    "check",
    [files.check_dockerfiles, files.check_scripts, files.check_workflows, files.check_rules],
)
def test_there_is_nothing_wrong(check: Callable[[], list[str]]) -> None:
    assert check() == []


@functools.cache
def _complaints_before(check: Callable[[], list[str]]) -> list[str]:
    """Return the complaints about an unchanged copy: every copy is the same."""
    return check()


@needs_tools
@pytest.mark.parametrize(("plant", "check", "said"), PLANTED.values(), ids=PLANTED)
def test_a_planted_mistake_is_found(
    tree: Path, plant: Callable[[Path], None], check: Callable[[], list[str]], said: str
) -> None:
    assert _complaints_before(check) == []
    plant(tree)
    assert [line for line in check() if re.search(said, line)]


def test_the_native_step_is_compiled_for_no_single_processor() -> None:
    """The library chooses its instructions at run time, so an image runs on other machines."""
    settings = (ROOT / "pyproject.toml").read_text()
    flags = re.search(r"^extra-compile-args = \[(.*?)^\]", settings, re.MULTILINE | re.DOTALL)
    assert flags is not None
    assert not re.search(r'"-m', flags[1])


def test_a_tool_that_is_not_there_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "find_tool", lambda name: None)
    with pytest.raises(RuntimeError, match="hadolint is not installed"):
        files.check_dockerfiles()


def test_a_tool_without_an_answer_is_one_short_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was a traceback with the name of every file of the project."""
    monkeypatch.setattr(tools, "find_tool", lambda name: shutil.which("sleep"))
    monkeypatch.setattr(tools, "SECONDS", 0.1)
    monkeypatch.setitem(CHECKS, "secrets", lambda: [tools.read_output("git", "10")])
    with pytest.raises(SystemExit) as ended:
        main(["secrets"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "secrets: git: no answer for 0.1 s\n"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_do_no_more_than_it_needs(path: Path) -> None:
    text = path.read_text()
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {}, "rights are given to jobs, one by one"
    assert "concurrency" in workflow
    for job in workflow["jobs"].values():
        assert "timeout-minutes" in job and job["permissions"]
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"])
                assert re.search(rf"{re.escape(step['uses'])} # v\d+\.\d+\.\d+", text)
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_the_list_of_errors_names_errors_alone() -> None:
    """A call of a variable `base` was listed, because a module of the errors has this name."""
    messages = read_messages(ROOT / "musicgen" / "checkpoints" / "adapters")
    assert len(messages) > 5
    for message in messages:
        assert issubclass(getattr(errors, message.error), errors.MusicGenError)
