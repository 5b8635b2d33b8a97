"""The push to Replicate, with a fake `cog` on the PATH to record the calls."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from infra.replicate import push
from infra.replicate.openapi_schema import COG_VERSION, PREDICT, ROOT, render
from musicgen.catalog import CATALOG
from musicgen.checkpoints.locate import locate
from musicgen.checkpoints.pack import pack
from tests.support.cog_program import Cog

TOKEN = "r8_very-secret"
WORKFLOW = ROOT / ".github" / "workflows" / "push-replicate.yml"


@pytest.fixture
def cog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cog:
    return Cog(tmp_path, monkeypatch)


def _checkout() -> str:
    command = ["git", "status", "--porcelain", "--untracked-files=all", "--", "cog.yaml", ".cog"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_the_image_is_pushed_with_the_schema_that_was_tested(cog: Cog) -> None:
    before = _checkout()
    assert push.main(["me/musicgen"]) == 0
    [pushed] = cog.calls()
    assert pushed["argv"] == ["push", "r8.im/me/musicgen"]
    assert pushed["schema"] == render(PREDICT.read_text())
    assert yaml.safe_load(pushed["config"]) == yaml.safe_load((ROOT / "cog.yaml").read_text())
    assert _checkout() == before
    assert not Path(pushed["folder"]).exists()


def test_the_image_has_what_the_runner_needs_and_no_more(cog: Cog) -> None:
    push.main(["me/musicgen"])
    files = cog.calls()[0]["files"]
    config = yaml.safe_load(cog.calls()[0]["config"])
    assert config["build"]["python_requirements"] in files
    assert {
        "predict.py",
        "handlers/cog_run.py",
        "musicgen/predictor/predictor.py",
        "LICENSE",
    } <= set(files)
    assert any(file.startswith("musicgen/demo/checkpoint/") for file in files)
    assert not [file for file in files if file.startswith("tests")]
    copied = {file: ROOT / file for file in files if file.endswith(".py")}
    assert all(path.is_file() for path in copied.values())


def test_the_image_has_bytecode_that_python_takes_as_it_is(
    cog: Cog, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = "{}.{}".format(*sys.version_info)
    for version, has_bytecode in ((own, True), ("3.99", False)):
        text = (ROOT / "cog.yaml").read_text().replace('"3.12"', f'"{version}"')
        monkeypatch.setattr(push, "_read_config", lambda text=text: text)
        assert push.main(["me/musicgen"]) == 0
        pushed = cog.calls()[-1]
        modules = [f for f in pushed["files"] if f.startswith(("musicgen/", "handlers/"))]
        names = {Path(f).stem.partition(".")[0] for f in modules if f.endswith(".pyc")}
        sources = {Path(f).stem for f in modules if f.endswith(".py")}
        assert names == (sources if has_bytecode else set())
        assert ("gets no bytecode" in capsys.readouterr().err) != has_bytecode


def test_the_streaming_runner_gets_its_own_schema_and_the_model_that_was_asked_for(
    cog: Cog,
) -> None:
    assert push.main(["me/musicgen", "--streaming", "--model", "small"]) == 0
    [pushed] = cog.calls()
    config = yaml.safe_load(pushed["config"])
    assert config["run"] == "predict.py:StreamingRunner"
    assert "MUSICGEN_MODEL=small" in config["environment"]
    assert pushed["schema"] == render(PREDICT.read_text(), "StreamingRunner")


def test_a_packed_file_goes_into_the_image(cog: Cog, tmp_path: Path) -> None:
    path = pack(locate("demo"), "plain-bfloat16", tmp_path).path
    assert push.main(["me/musicgen", "--model", str(path)]) == 0
    [pushed] = cog.calls()
    assert "MUSICGEN_MODEL=weights.packed" in yaml.safe_load(pushed["config"])["environment"]
    assert "weights.packed" in pushed["files"]


def test_what_is_no_packed_file_is_refused(cog: Cog, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        push.main(["me/musicgen", "--model", "no-such.packed"])
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("by_stdin", [True, False])
def test_the_token_goes_to_cogs_standard_input_and_nowhere_else(
    cog: Cog,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    by_stdin: bool,
) -> None:
    if by_stdin:
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{TOKEN}\n"))
    else:
        monkeypatch.setenv("REPLICATE_API_TOKEN", TOKEN)
    assert push.main(["me/musicgen", *(["--token-stdin"] if by_stdin else [])]) == 0
    login, pushed = cog.calls()
    assert login["argv"] == ["login", "--token-stdin"]
    assert login.pop("stdin") == f"{TOKEN}\n"
    shown = capfd.readouterr()
    assert TOKEN not in json.dumps([login, pushed]) + shown.out + shown.err


def test_a_token_that_is_refused_stops_before_the_build(
    cog: Cog, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cog.install(fails="login")
    monkeypatch.setenv("REPLICATE_API_TOKEN", TOKEN)
    assert push.main(["me/musicgen"]) == 2
    assert [call["argv"][0] for call in cog.calls()] == ["login"]
    told = capsys.readouterr().err
    assert "check the token" in told and TOKEN not in told


def test_a_push_that_fails_is_told_by_the_exit_status(cog: Cog) -> None:
    cog.install(fails="push")
    assert push.main(["me/musicgen"]) == 1


def test_where_to_get_cog_is_told(
    cog: Cog, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for version in ("Cog 0.18 (WPE WebKit)", "cog version v0.9.8 (built x)"):
        cog.install(version=version)
        assert push.main(["me/musicgen"]) == 2
        assert f"releases/tag/v{COG_VERSION}" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert push.main(["me/musicgen"]) == 2
    assert "`cog` is not installed" in capsys.readouterr().err
    assert not cog.calls()


def test_the_page_and_the_licence_are_told(cog: Cog, capsys: pytest.CaptureFixture[str]) -> None:
    push.main(["me/musicgen", "--model", "small"])
    told = capsys.readouterr().err
    assert "replicate.com/me/musicgen must exist: create it as private" in told
    assert "CC-BY-NC-4.0: no commercial use" in told


@pytest.mark.parametrize(
    "name",
    ["musicgen", "r8.im/me/musicgen", "me/../x", "--x", "Me/Model", "OWNER/MODEL"],
)
def test_what_is_no_model_of_replicate_is_refused(
    cog: Cog, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push.main(["--", name]) == 2
    assert f"{name!r} is not a name of a model on Replicate. Write" in capsys.readouterr().err
    assert not cog.calls()


def test_a_schema_that_is_not_current_is_not_pushed(
    cog: Cog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stale = tmp_path / "openapi_schema.json"
    stale.write_text("{}")
    monkeypatch.setattr(push, "SCHEMA", stale)
    assert push.main(["me/musicgen"]) == 2
    assert not cog.calls()


def test_a_dry_run_needs_no_cog(cog: Cog, capsys: pytest.CaptureFixture[str]) -> None:
    assert push.main(["me/musicgen", "--dry-run", "--streaming"]) == 0
    shown = capsys.readouterr().out
    assert "would run: cog push r8.im/me/musicgen" in shown
    assert 'run: "predict.py:StreamingRunner"' in shown
    assert not cog.calls()


def test_the_workflow_has_few_rights_and_the_version_that_was_tested() -> None:
    text = WORKFLOW.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    # YAML 1.1 reads the key `on` as true.
    triggers = workflow[True]
    assert set(triggers) == {"release", "workflow_dispatch"}
    assert triggers["workflow_dispatch"]["inputs"]["model"]["options"] == list(CATALOG)
    assert workflow["permissions"] == {}
    assert workflow["jobs"]["push"]["permissions"] == {"contents": "read"}
    steps = workflow["jobs"]["push"]["steps"]
    [setup] = [step["with"] for step in steps if "setup-cog" in step.get("uses", "")]
    assert setup["cog-version"] == f"v{COG_VERSION}"
    assert setup["token"] == "${{ secrets.REPLICATE_CLI_AUTH_TOKEN }}"
    assert text.count("secrets.") == 1
    assert all(re.search("@[0-9a-f]{40}$", step["uses"]) for step in steps if "uses" in step)
    assert not [step["run"] for step in steps if "${{" in step.get("run", "")]


def test_the_workflow_keeps_the_rules_of_github(tmp_path: Path) -> None:
    pytest.importorskip("check_jsonschema")
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema"),
            *("--builtin-schema", "vendor.github-workflows", str(WORKFLOW)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
