"""A deployment killed on its way, and the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.deploy import google_cloud, history, vertex
from infra.deploy.__main__ import main
from tests.support import ROOT
from tests.support.google_apis import VertexApi
from tests.support.json_server import TOKEN, Answer
from tests.support.platform_apis import served

IMAGE = "us-docker.pkg.dev/mine/music/musicgen-model@sha256:" + "1" * 64
NEWER = "us-docker.pkg.dev/mine/music/musicgen-model@sha256:" + "2" * 64
DEPLOY = """
import sys
from infra.deploy import vertex
from infra.deploy.__main__ import main

vertex.HOST = sys.argv[1]
sys.exit(main(sys.argv[2:]))
"""


class KillingApi(VertexApi):
    """Vertex AI; a caller of `kills_at` is killed, after or instead of the change."""

    caller: subprocess.Popen[bytes] | None = None
    kills_at = ""
    changes_first = True

    def answer(self, method: str, path: str, body: dict[str, object]) -> Answer:
        kills = self.caller is not None and method != "GET" and path.endswith(self.kills_at)
        done = super().answer(method, path, body) if self.changes_first or not kills else (500, {})
        if kills and self.caller is not None:
            self.caller.send_signal(signal.SIGKILL)
            self.caller.wait()
        return done


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KillingApi]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", TOKEN)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "mine")
    monkeypatch.setattr(google_cloud, "POLL_SECONDS", 0.01)
    api = KillingApi()
    with served(api) as url:
        monkeypatch.setattr(vertex, "HOST", url)
        yield api


def _deploy_and_kill(models: KillingApi, at: str, *arguments: str) -> None:
    """Deploy in a process that is killed at a call."""
    models.kills_at = at
    command = [sys.executable, "-c", DEPLOY, vertex.HOST, "vertex", "music", *arguments]
    models.caller = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert models.caller.wait(60) == -signal.SIGKILL
    models.caller = None
    models.calls.clear()


def _names(models: KillingApi) -> list[str]:
    return [each["displayName"] for each in models.endpoints["music"]["deployedModels"]]


def test_a_rollback_after_a_killed_deployment_needs_no_name(models: KillingApi) -> None:
    """Nothing had recorded the release from before, so it asked for --to."""
    assert main(["vertex", "music", "--image", IMAGE]) == 0
    earlier = _names(models)
    _deploy_and_kill(models, "music:deployModel", "--image", NEWER)
    assert len(_names(models)) == 2
    assert main(["vertex", "music", "--rollback"]) == 0
    assert _names(models) == earlier
    assert models.calls == ["PATCH music", "music:undeployModel"]


def test_a_killed_rollback_is_finished_by_the_next_one(models: KillingApi) -> None:
    assert main(["vertex", "music", "--image", IMAGE]) == 0
    earlier = _names(models)
    assert main(["vertex", "music", "--image", NEWER]) == 0
    _deploy_and_kill(models, "music:deployModel", "--rollback")
    assert main(["vertex", "music", "--rollback"]) == 0
    assert _names(models) == earlier


def test_a_change_that_goes_on_after_its_run_was_killed_is_waited_for(
    models: KillingApi, capsys: pytest.CaptureFixture[str]
) -> None:
    """The endpoint lists the model only later, so another one was deployed beside it."""
    assert main(["vertex", "music", "--image", IMAGE]) == 0
    models.changes_first = False
    _deploy_and_kill(models, "music:deployModel", "--image", NEWER)
    models.running = ["77"]
    assert main(["vertex", "music", "--image", NEWER]) == 2
    assert "NO  changes of the endpoint: 77 " in capsys.readouterr().out
    models.running = []
    assert main(["vertex", "music", "--image", NEWER]) == 0
    assert len(_names(models)) == 1


def test_models_of_killed_runs_are_listed_and_those_of_releases_are_not(
    models: KillingApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["vertex", "music", "--image", IMAGE]) == 0
    _deploy_and_kill(models, "models:upload", "--image", NEWER)
    [earlier, left] = models.models
    capsys.readouterr()
    third = IMAGE[:-64] + "3" * 64
    assert main(["vertex", "music", "--image", third]) == 0
    [line] = [each for each in capsys.readouterr().out.splitlines() if "never deployed" in each]
    assert left in line and earlier not in line and "gcloud ai models delete" in line
    assert main(["vertex", "music", "--image", NEWER]) == 0
    capsys.readouterr()
    assert main(["vertex", "music", "--image", NEWER, "--dry-run"]) == 0
    assert "never deployed" not in capsys.readouterr().out


def test_a_half_written_file_of_a_killed_run_is_no_change(models: KillingApi) -> None:
    assert main(["vertex", "music", "--image", IMAGE]) == 0
    folder = history.history_file().parent / "running"
    assert list(folder.iterdir()) == []
    (folder / "vertex%2Fmusic.json").write_text('{"bef')
    assert main(["vertex", "music", "--image", IMAGE]) == 0
    assert list(folder.iterdir()) == [] and len(models.calls) == 3
