"""Deployment to Modal, with a stand-in for its command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.deploy.__main__ import main
from infra.modal.options import ModalOptions
from tests.support.modal_program import ModalProgram


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModalProgram:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return ModalProgram(tmp_path, monkeypatch)


def test_the_first_deployment_packs_the_weights_and_later_ones_do_not(
    program: ModalProgram,
) -> None:
    command = ["modal", "--model", "demo", "--gpu", "L4", "A10", "--slots", "4"]
    command += ["--call-seconds", "600"]
    assert main(command) == 0
    assert program.list_changes() == [
        "run -m infra.modal.app::fill_volume",
        "deploy -m infra.modal.app",
    ]
    words, variables = program.read()["calls"][-2]
    assert words[0] == "deploy"
    options = ModalOptions.from_env(variables)
    assert options == ModalOptions(model="demo", gpu=("L4", "A10"), slots=4, call_seconds=600)
    assert main(command) == 0
    assert program.list_changes()[2:] == ["deploy -m infra.modal.app"]


def test_an_app_goes_back_to_its_version_before(program: ModalProgram) -> None:
    for _ in range(2):
        assert main(["modal", "--model", "demo"]) == 0
    assert main(["modal", "--rollback"]) == 0
    assert program.list_changes()[-1] == "app rollback musicgen v1"


def test_a_dry_run_changes_nothing(
    program: ModalProgram, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["modal", "--model", "demo", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "would run: " in out and "MODAL_APP_MODEL=demo" in out
    assert program.list_changes() == []


def test_everything_missing_is_listed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODAL_CONFIG_PATH", str(tmp_path / "none.toml"))
    for name in ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"):
        monkeypatch.delenv(name, raising=False)
    assert main(["modal", "--gpu", "L40", "--secret", "bucket", "--dry-run"]) == 2
    out = capsys.readouterr().out
    for name in ("MODAL_TOKEN_ID and MODAL_TOKEN_SECRET", "GPU", "secret bucket"):
        assert f"NO  {name}: " in out


def test_a_secret_that_modal_does_not_keep_is_named(
    program: ModalProgram, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["modal", "--model", "demo", "--secret", "bucket"]) == 2
    assert "NO  secret bucket: missing: modal secret create bucket" in capsys.readouterr().out
    program.write(program.read() | {"secrets": ["bucket"]})
    assert main(["modal", "--model", "demo", "--secret", "bucket"]) == 0


def test_wrong_options_change_nothing(
    program: ModalProgram, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["modal", "--slots", "0"]) == 2
    assert "must be between 1 and 64" in capsys.readouterr().err
    assert program.read()["calls"] == []
