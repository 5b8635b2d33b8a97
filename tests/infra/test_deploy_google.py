"""Deployments to Cloud Run and Vertex AI, with fakes of their described APIs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.deploy import cloudrun, google_cloud, vertex
from infra.deploy.__main__ import main
from tests.support.google_apis import CloudRunApi, VertexApi
from tests.support.json_server import TOKEN
from tests.support.platform_apis import served

IMAGE = "us-docker.pkg.dev/mine/music/musicgen-model@sha256:" + "1" * 64
NEWER = "us-docker.pkg.dev/mine/music/musicgen-model@sha256:" + "2" * 64


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", TOKEN)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "mine")
    monkeypatch.setattr(google_cloud, "POLL_SECONDS", 0.01)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudRunApi]:
    api = CloudRunApi()
    with served(api) as url:
        monkeypatch.setattr(cloudrun, "BASE_URL", url)
        yield api


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Iterator[VertexApi]:
    api = VertexApi()
    with served(api) as url:
        monkeypatch.setattr(vertex, "HOST", url)
        yield api


def _current(run: CloudRunApi) -> str | None:
    options = google_cloud.GoogleOptions("music")
    return cloudrun.CloudRun(options).find_current_release()


def test_a_service_gets_a_gpu_and_the_same_again_changes_nothing(
    run: CloudRunApi, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["cloudrun", "music", "--image", IMAGE, "--env", "MUSICGEN_MODEL=small"]
    assert main(command) == 0
    [body] = run.bodies
    template = body["template"]
    [container] = template["containers"]
    assert template["nodeSelector"] == {"accelerator": "nvidia-rtx-pro-6000"}
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["resources"]["cpuIdle"] is False
    assert container["startupProbe"]["httpGet"]["path"] == "/ping"
    assert template["scaling"] == {"minInstanceCount": 0, "maxInstanceCount": 2}
    assert {"name": "MUSICGEN_MODEL", "value": "small"} in container["env"]
    assert main(command) == 0
    assert len(run.bodies) == 1 and "nothing to do" in capsys.readouterr().out


def test_a_gpu_whose_driver_is_too_old_for_the_image_is_refused(
    run: CloudRunApi, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["cloudrun", "music", "--image", IMAGE, "--gpu", "nvidia-l4"]
    assert main(command) == 2
    assert "driver 535" in capsys.readouterr().out
    assert main([*command, "--driver", "580"]) == 0


def test_traffic_goes_back_to_the_revision_before_and_forward_again(run: CloudRunApi) -> None:
    assert main(["cloudrun", "music", "--image", IMAGE]) == 0
    before = _current(run)
    newer = ["cloudrun", "music", "--image", NEWER]
    assert main(newer) == 0
    after = _current(run)
    assert after != before
    assert main(["cloudrun", "music", "--rollback"]) == 0
    assert _current(run) == before and run.bodies[-1].keys() == {"traffic"}
    assert main(newer) == 0
    assert _current(run) == after and run.bodies[-1].keys() == {"traffic"}


def test_a_service_without_a_gpu_names_none(run: CloudRunApi) -> None:
    assert main(["cloudrun", "music", "--image", IMAGE, "--no-gpu"]) == 0
    template = run.bodies[0]["template"]
    assert "nodeSelector" not in template
    assert "nvidia.com/gpu" not in template["containers"][0]["resources"]["limits"]


def test_a_revision_that_does_not_start_is_an_error(
    run: CloudRunApi, capsys: pytest.CaptureFixture[str]
) -> None:
    run.fails = "The container failed to start"
    assert main(["cloudrun", "music", "--image", IMAGE]) == 1
    assert "The container failed to start" in capsys.readouterr().err


def test_a_revision_that_never_started_is_made_again_and_not_given_the_traffic(
    run: CloudRunApi, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second try sent the traffic to the failed revision, which never starts again."""
    command = ["cloudrun", "music", "--image", IMAGE]
    newer = ["cloudrun", "music", "--image", NEWER]
    run.fails = "bucket music: AccessDenied"
    assert main(command) == 1 and _current(run) is None
    assert main(command) == 1
    run.fails = ""
    assert main(command) == 0
    [*failed, good] = run.revisions
    assert len(failed) == 2 and _current(run) == good
    assert main(command) == 0
    assert "nothing to do" in capsys.readouterr().out
    run.fails = "out of memory"
    assert main(newer) == 1 and _current(run) == good
    assert main(["cloudrun", "music", "--to", [*run.revisions][-1]]) == 2
    assert "out of memory" in capsys.readouterr().err
    run.fails = ""
    assert main(newer) == 0
    assert main(["cloudrun", "music", "--rollback"]) == 0 and _current(run) == good
    assert len({name for name in run.revisions if len(name) <= 63}) == 5


def test_a_model_is_uploaded_deployed_and_the_one_before_goes(
    models: VertexApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["vertex", "music", "--image", IMAGE]) == 0
    assert models.calls == ["models:upload", "endpoints", "music:deployModel"]
    [first] = models.endpoints["music"]["deployedModels"]
    machine = first["dedicatedResources"]["machineSpec"]
    assert machine["machineType"] == "g2-standard-4" and machine["acceleratorCount"] == 1
    assert main(["vertex", "music", "--image", IMAGE]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main(["vertex", "music", "--image", NEWER]) == 0
    assert models.calls[3:] == ["models:upload", "music:deployModel", "music:undeployModel"]
    [second] = models.endpoints["music"]["deployedModels"]
    assert second["model"] != first["model"]
    assert main(["vertex", "music", "--image", NEWER, "--rollback"]) == 0
    [third] = models.endpoints["music"]["deployedModels"]
    assert third["model"] == first["model"] and len(models.models) == 2


def test_the_earlier_model_of_an_interrupted_run_goes_with_the_next(models: VertexApi) -> None:
    """It stayed, and cost as much: the new model had the traffic, so nothing seemed to do."""
    command = ["vertex", "music", "--image", IMAGE]
    assert main(command) == 0
    [new] = models.endpoints["music"]["deployedModels"]
    old = new | {"id": "old", "model": "projects/mine/locations/us-central1/models/old"}
    models.endpoints["music"]["deployedModels"].insert(0, old)
    assert main(command) == 0
    assert models.calls[3:] == ["music:undeployModel"]
    assert models.endpoints["music"]["deployedModels"] == [new]
    assert main(command) == 0 and len(models.calls) == 4


def _split(models: VertexApi) -> list[tuple[str, int]]:
    """Return each deployed model with its share of the traffic."""
    endpoint = models.endpoints["music"]
    shares = endpoint["trafficSplit"]
    return [(each["displayName"], shares.get(each["id"], 0)) for each in endpoint["deployedModels"]]


def test_a_rollback_after_an_interrupted_run_needs_no_third_gpu(models: VertexApi) -> None:
    """The earlier model is still deployed, and was deployed a second time."""
    assert main(["vertex", "music", "--image", IMAGE]) == 0
    [(earlier, _)] = _split(models)
    models.breaks_at = "music:undeployModel"
    assert main(["vertex", "music", "--image", NEWER]) == 1
    models.breaks_at, models.calls = "", []
    assert main(["vertex", "music", "--rollback"]) == 0
    assert models.calls == ["PATCH music", "music:undeployModel"]
    assert _split(models) == [(earlier, 100)]


@pytest.mark.parametrize("way", ["--rollback", "--to"])
def test_an_interrupted_rollback_is_finished_by_the_next_one(models: VertexApi, way: str) -> None:
    """It left the later model deployed, at the same cost: `--to` had nothing to do, and
    `--rollback` went forward again."""
    assert main(["vertex", "music", "--image", IMAGE]) == 0
    assert main(["vertex", "music", "--image", NEWER]) == 0
    earlier, _ = models.models
    models.breaks_at = "music:undeployModel"
    assert main(["vertex", "music", "--rollback"]) == 1
    assert len(_split(models)) == 2
    models.breaks_at, models.calls = "", []
    wish = [way] if way == "--rollback" else [way, earlier]
    assert main(["vertex", "music", *wish, "--dry-run"]) == 0 and models.calls == []
    assert main(["vertex", "music", *wish]) == 0
    assert models.calls == ["music:undeployModel"] and _split(models) == [(earlier, 100)]
    assert main(["vertex", "music", "--rollback"]) == 0
    assert _split(models)[0][0] != earlier


@pytest.mark.parametrize("target", ["cloudrun", "vertex"])
def test_the_container_knows_the_limits_of_its_platform(
    target: str, run: CloudRunApi, models: VertexApi
) -> None:
    assert main([target, "music", "--image", IMAGE, "--env", "MUSICGEN_SLOTS=2"]) == 0
    if target == "cloudrun":
        env = run.bodies[0]["template"]["containers"][0]["env"]
        limits = {"MUSICGEN_CALL_SECONDS": "1195"}
    else:
        [model] = models.models.values()
        env = model["containerSpec"]["env"]
        limits = {"MUSICGEN_ANSWER_MB": "10", "MUSICGEN_CALL_SECONDS": "595"}
    assert {each["name"]: each["value"] for each in env} == {"MUSICGEN_SLOTS": "2"} | limits


def test_a_longer_call_reaches_the_platform_and_the_container(
    run: CloudRunApi, models: VertexApi
) -> None:
    command = ["music", "--image", IMAGE, "--call-seconds", "3000"]
    assert main(["cloudrun", *command]) == 0
    template = run.bodies[0]["template"]
    assert template["timeout"] == "3000s"
    assert {"name": "MUSICGEN_CALL_SECONDS", "value": "2995"} in template["containers"][0]["env"]
    assert main(["vertex", *command]) == 0
    assert models.endpoints["music"]["clientConnectionConfig"] == {"inferenceTimeout": "3000s"}


def test_the_time_of_an_endpoint_that_exists_is_its_limit(
    models: VertexApi, capsys: pytest.CaptureFixture[str]
) -> None:
    """Vertex AI takes the time of a call only for a new endpoint, and says nothing later."""
    assert main(["vertex", "music", "--image", IMAGE]) == 0
    longer = ["vertex", "music", "--image", NEWER, "--call-seconds", "900"]
    assert main(longer) == 2
    out = capsys.readouterr().out
    assert "NO  inferenceTimeout: the endpoint ends a call after 600 s" in out
    del models.endpoints["music"]["clientConnectionConfig"]
    assert main(longer) == 2
    assert main(["vertex", "music", "--image", NEWER]) == 0


def test_the_traffic_counts_and_not_the_order_of_its_shares(run: CloudRunApi) -> None:
    assert main(["cloudrun", "music", "--image", IMAGE]) == 0
    current = _current(run)
    shares = [{"revision": "tagged", "tag": "try"}, {"revision": current, "percent": 100}]
    run.services["music"]["traffic"] = shares
    assert _current(run) == current


@pytest.mark.parametrize(
    "wrong",
    [
        ["--region", "us-central1.example.com/x"],
        ["--account", "nobody"],
        ["--env", "a b=c"],
        ["music/../other"],
    ],
)
@pytest.mark.parametrize("target", ["cloudrun", "vertex"])
def test_a_part_of_an_address_has_its_form(
    target: str, wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A region with a host name in it would send the token there."""
    name = [] if len(wrong) == 1 else ["music"]
    with pytest.raises(SystemExit) as ended:
        main([target, *name, *wrong, "--image", IMAGE])
    assert ended.value.code == 2
    assert " is " in capsys.readouterr().err


@pytest.mark.parametrize("target", ["cloudrun", "vertex"])
def test_every_missing_thing_is_listed_at_once(
    target: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("GOOGLE_OAUTH_ACCESS_TOKEN", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(google_cloud, "find_tool", lambda name: None)
    assert main([target, "music", "--gpu", "K80", "--min", "9", "--dry-run"]) == 2
    out = capsys.readouterr().out
    for name in ("project", "Google token", "image", "instances", "GPU"):
        assert f"NO  {name}: " in out


@pytest.mark.parametrize(("target", "api"), [("cloudrun", "run"), ("vertex", "models")])
def test_a_dry_run_shows_the_calls_and_no_secret(
    target: str, api: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    request.getfixturevalue(api)
    secret = "--env=HF_TOKEN=secret-value"
    assert main([target, "music", "--image", IMAGE, secret, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "would run: POST" in out and "HF_TOKEN" in out
    assert "secret-value" not in out


def test_a_registry_that_the_platform_cannot_read_is_named(
    run: CloudRunApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cloudrun", "music", "--image", f"ghcr.io/me/m@sha256:{'1' * 64}"]) == 2
    assert "NO  registry: ghcr.io" in capsys.readouterr().out


def test_a_refused_token_is_no_crash(
    run: CloudRunApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", "another")
    assert main(["cloudrun", "music", "--image", IMAGE]) == 2
    assert "NO  Google token: " in capsys.readouterr().out
