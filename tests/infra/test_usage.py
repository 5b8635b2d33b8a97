"""Command lines of infra: their usage texts name them, and a wrong option is explained."""

from __future__ import annotations

import importlib
import sys

import pytest

from infra.check.__main__ import CHECKS
from infra.check.__main__ import main as run_checks

TOOLS = {
    "infra.check": "infra.check.__main__",
    "infra.deploy": "infra.deploy.__main__",
    "infra.loadtest": "infra.loadtest.__main__",
    "infra.compose.as_processes": "infra.compose.as_processes",
    "infra.coldstart.diet": "infra.coldstart.diet",
    "infra.coldstart.trace": "infra.coldstart.trace",
    "infra.huggingface.layout": "infra.huggingface.layout",
    "infra.release.notes": "infra.release.notes",
    "infra.replicate.push": "infra.replicate.push",
}


@pytest.mark.parametrize("command", TOOLS)
def test_the_usage_text_names_the_command(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["__main__.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(TOOLS[command]).main()
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert text.startswith(f"usage: python -m {command} ")
    assert "__main__.py" not in text and "[]" not in text


def test_an_unknown_check_is_answered_with_the_known_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_checks(["house", "manifest"])
    text = capsys.readouterr().err
    assert ended.value.code == 2
    assert f"unknown check: manifest. Choose from {', '.join(CHECKS)}." in text
