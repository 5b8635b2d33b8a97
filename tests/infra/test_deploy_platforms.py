"""Deployments to RunPod, Replicate and Hugging Face, with fakes of their documented APIs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from infra.deploy import replicate, runpod
from infra.deploy.__main__ import main
from tests.support import ROOT
from tests.support import hub as hubs
from tests.support.cog_program import Cog
from tests.support.hub import Hub
from tests.support.json_server import TOKEN
from tests.support.management_apis import ReplicateManagement, RunPodManagement
from tests.support.platform_apis import served

IMAGE = "ghcr.io/me/musicgen@sha256:" + "1" * 64
NEWER = "ghcr.io/me/musicgen@sha256:" + "2" * 64


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("RUNPOD_API_KEY", "REPLICATE_API_TOKEN", "HF_TOKEN"):
        monkeypatch.setenv(name, TOKEN)


@pytest.fixture
def endpoints(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunPodManagement]:
    api = RunPodManagement()
    with served(api) as url:
        monkeypatch.setattr(runpod, "BASE_URL", url)
        yield api


@pytest.fixture
def models(cog: Cog, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReplicateManagement]:
    api = ReplicateManagement(lambda: sum(call["argv"][0] == "push" for call in cog.calls()))
    with served(api) as url:
        monkeypatch.setattr(replicate, "BASE_URL", url)
        yield api


@pytest.fixture
def cog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cog:
    made = Cog(tmp_path, monkeypatch)
    monkeypatch.setenv("REPLICATE_API_TOKEN", TOKEN)
    return made


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub()
    with hubs.served(made) as url:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "INFERENCE_ENDPOINTS_ENDPOINT", f"{url}/v2")
        yield made


def test_an_endpoint_is_made_and_then_only_what_differs_is_changed(
    endpoints: RunPodManagement, capsys: pytest.CaptureFixture[str]
) -> None:
    first = ["runpod", "music", "--image", IMAGE, "--env", "MUSICGEN_MODEL=small"]
    assert main(first) == 0
    [made] = endpoints.endpoints
    assert (made["image"], made["type"]) == (IMAGE, "QUEUE")
    assert made["gpu"]["minCudaVersion"] == runpod.CUDA
    assert main(first) == 0
    assert len(endpoints.calls) == 1 and "nothing to do" in capsys.readouterr().out
    assert (
        main(["runpod", "music", "--image", NEWER, "--max", "5", "--env", "MUSICGEN_SLOTS=4"]) == 0
    )
    method, path, changes = endpoints.calls[1]
    assert (method, path) == ("PATCH", "/v2/serverless/ep0")
    assert changes.keys() == {"image", "workers", "env"}
    assert made["env"] == {"MUSICGEN_MODEL": "small", "MUSICGEN_SLOTS": "4"}
    assert made["workers"] == {"min": 0, "max": 5, "idleTimeout": 60}


def test_a_new_endpoint_is_as_runpod_s_hub_would_make_it() -> None:
    hub = json.loads((ROOT / ".runpod/hub.json").read_text())["config"]
    assert ",".join(runpod.POOLS) == hub["gpuIds"]
    assert hub["containerDiskInGb"] == runpod.DISK_GB
    assert hub["allowedCudaVersions"][0] == runpod.CUDA


def test_what_was_set_for_an_endpoint_stays_unless_it_is_asked_for(
    endpoints: RunPodManagement,
) -> None:
    main(["runpod", "music", "--image", IMAGE, "--max", "5", "--gpu", "ADA_48_PRO"])
    assert main(["runpod", "music", "--image", NEWER]) == 0
    assert endpoints.calls[-1][2] == {"image": NEWER}
    assert endpoints.endpoints[0]["workers"]["max"] == 5


def test_the_time_of_a_job_is_kept_and_changed(endpoints: RunPodManagement) -> None:
    assert main(["runpod", "music", "--image", IMAGE]) == 0
    assert endpoints.endpoints[0]["timeout"] == 1_200_000
    assert main(["runpod", "music", "--call-seconds", "1800"]) == 0
    assert endpoints.calls[-1][2] == {"timeout": 1_800_000}
    assert main(["runpod", "music", "--max", "5"]) == 0
    assert endpoints.endpoints[0]["timeout"] == 1_800_000


def test_an_endpoint_goes_back_to_its_image_before(endpoints: RunPodManagement) -> None:
    for image in (IMAGE, NEWER):
        assert main(["runpod", "music", "--image", image]) == 0
    assert main(["runpod", "music", "--rollback"]) == 0
    assert endpoints.endpoints[0]["image"] == IMAGE
    assert main(["runpod", "music", "--rollback", "--to", NEWER]) == 0
    assert endpoints.endpoints[0]["image"] == NEWER


def test_types_that_an_operator_excluded_stay_excluded(endpoints: RunPodManagement) -> None:
    main(["runpod", "music", "--image", IMAGE])
    endpoints.endpoints[0]["gpu"]["excludedTypes"] = ["NVIDIA L4"]
    assert main(["runpod", "music", "--image", IMAGE, "--gpu", "ADA_24", "ADA_48_PRO"]) == 0
    gpu = endpoints.endpoints[0]["gpu"]
    assert gpu["pools"] == ["ADA_24", "ADA_48_PRO"] and gpu["excludedTypes"] == ["NVIDIA L4"]
    assert gpu["minCudaVersion"] == runpod.CUDA


def test_a_dry_run_shows_the_call_and_no_secret(
    endpoints: RunPodManagement, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "--env=HF_TOKEN=secret-value"
    assert main(["runpod", "music", "--image", IMAGE, secret, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "would run: POST" in out and "HF_TOKEN" in out
    assert "secret-value" not in out and not endpoints.calls


def test_volumes_and_data_centres_are_set_and_changed(endpoints: RunPodManagement) -> None:
    endpoints.volumes = [{"id": "vol1", "dataCenter": "EU-RO-1", "name": "weights", "size": 20}]
    command = ["runpod", "music", "--image", IMAGE, "--data-center", "EU-RO-1", "US-KS-2"]
    assert main([*command, "--volume", "vol1"]) == 0
    [made] = endpoints.endpoints
    assert made["networkVolumes"] == ["vol1"]
    assert made["dataCenterIds"] == ["EU-RO-1", "US-KS-2"]
    assert main(["runpod", "music", "--data-center", "EU-RO-1"]) == 0
    assert endpoints.calls[-1][2] == {"dataCenterIds": ["EU-RO-1"]}
    assert made["networkVolumes"] == ["vol1"]


def test_a_volume_elsewhere_or_nowhere_is_refused(
    endpoints: RunPodManagement, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoints.volumes = [{"id": "vol1", "dataCenter": "EU-RO-1", "name": "weights", "size": 20}]
    command = ["runpod", "music", "--image", IMAGE, "--volume", "vol1", "vol2"]
    assert main([*command, "--data-center", "US-KS-2"]) == 2
    out = capsys.readouterr().out
    assert "NO  volume vol1: in EU-RO-1, not in US-KS-2" in out
    assert "NO  volume vol2: missing" in out and not endpoints.calls


def test_an_image_that_may_move_is_refused(
    endpoints: RunPodManagement, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runpod", "music", "--image", "me/musicgen:latest"]) == 2
    assert "by its digest" in capsys.readouterr().out and not endpoints.calls


def test_two_endpoints_of_one_name_are_not_guessed_at(
    endpoints: RunPodManagement, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoints.endpoints += [{"id": "a", "name": "music"}, {"id": "b", "name": "music"}]
    assert main(["runpod", "music", "--image", IMAGE]) == 2
    assert "rename one" in capsys.readouterr().out


def test_what_a_platform_refuses_is_told(
    endpoints: RunPodManagement, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runpod, "WORKERS", runpod.WORKERS | {"least": 1})
    assert main(["runpod", "music", "--image", IMAGE]) == 1
    assert "additional properties 'least' not allowed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "variable", "also"),
    [
        (["runpod", "music", "--volume", "vol1"], "RUNPOD_API_KEY", ("image", "volume vol1")),
        (["replicate", "me/music"], "REPLICATE_API_TOKEN", ("cog",)),
        (["huggingface", "me/music", "--endpoint", "music"], "HF_TOKEN", ()),
    ],
)
def test_a_missing_token_is_named_with_all_else_that_is_missing(
    command: list[str],
    variable: str,
    also: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv(variable)
    assert main([*command, "--dry-run"]) == 2
    out = capsys.readouterr().out
    assert f"NO  {variable}: set it to a token" in out
    for name in also:
        assert f"NO  {name}: " in out


def test_a_push_is_served_by_a_deployment_that_goes_back(
    models: ReplicateManagement, cog: Cog
) -> None:
    command = ["replicate", "me/music", "--deployment", "me/live", "--model", "demo"]
    assert main(command) == 0
    assert models.deployments["live"]["version"] == "version1"
    assert main(command) == 0
    assert models.deployments["live"]["version"] == "version2"
    cog.remove()  # a way back needs no Docker
    assert main([*command, "--rollback"]) == 0
    assert models.deployments["live"]["version"] == "version1"
    pushes = [call for call in cog.calls() if call["argv"][0] == "push"]
    assert len(pushes) == 2
    assert not any("REPLICATE_API_TOKEN" in push["environment"] for push in pushes)


def test_a_failed_push_leaves_the_deployment_alone(
    models: ReplicateManagement, cog: Cog, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["replicate", "me/music", "--deployment", "me/live", "--model", "demo"]
    main(command)
    cog.install(fails="push")
    before = dict(models.deployments["live"])
    assert main(command) == 1
    assert models.deployments["live"] == before
    assert "the push failed" in capsys.readouterr().err


def test_a_page_that_is_not_there_is_asked_for(
    models: ReplicateManagement, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replicate", "me/other", "--deployment", "me/live"]) == 2
    assert "replicate.com/create" in capsys.readouterr().out


def test_without_a_deployment_there_is_no_way_back(
    models: ReplicateManagement, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replicate", "me/music", "--model", "demo"]) == 0
    assert main(["replicate", "me/music", "--rollback", "--to", "version0"]) == 1
    assert "--deployment" in capsys.readouterr().err


HF = ["huggingface", "me/music", "--endpoint", "music", "--model", "demo", "--without-weights"]


def test_a_repository_is_uploaded_and_served_at_its_commit(hub: Hub) -> None:
    secret = "HF_TOKEN=x"
    assert main([*HF, "--env", "MUSICGEN_SLOTS=2", "--env", secret]) == 0
    assert hub.is_private is True
    assert {"handler.py", "musicgen/predictor/predictor.py", "requirements.txt"} <= hub.files.keys()
    model = hub.endpoints["music"]["model"]
    assert model["revision"] == hub.commits[-1][0]
    assert (model["task"], model["env"]) == ("custom", {"MUSICGEN_SLOTS": "2"})
    assert model["secrets"] == {"HF_TOKEN": "x"}
    assert hub.endpoints["music"]["compute"]["scaling"]["minReplica"] == 0


def test_the_same_files_are_no_new_commit_and_old_ones_go(hub: Hub) -> None:
    assert main(HF) == 0
    commits = len(hub.commits)
    assert main(HF) == 0
    assert len(hub.commits) == commits
    hub.commits.append(("b" * 40, hub.files | {"musicgen/gone.py": b"old", "notes.md": b"mine"}))
    assert main(HF) == 0
    assert "musicgen/gone.py" not in hub.files and hub.files["notes.md"] == b"mine"
    assert "musicgen/predictor/predictor.py" in hub.files


def test_an_endpoint_goes_back_to_its_commit_before(hub: Hub) -> None:
    main(HF)
    first = hub.commits[-1][0]
    hub.commits[-1][1]["handler.py"] = b"changed by hand"
    main(HF)
    assert hub.endpoints["music"]["model"]["revision"] == hub.commits[-1][0] != first
    assert main([*HF, "--rollback"]) == 0
    assert hub.endpoints["music"]["model"]["revision"] == first


def test_another_s_repository_is_not_touched(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    command: list[Any] = ["huggingface", "you/music", *HF[2:]]
    assert main(command) == 2
    assert "may not write to you" in capsys.readouterr().out and not hub.commits


@pytest.mark.parametrize(
    "command",
    [
        ["replicate", "model-without-owner"],
        ["replicate", "me/music", "--deployment", "me/music/more"],
        ["huggingface", "../music", "--endpoint", "music"],
        ["runpod", "music", "--env", "=value"],
    ],
)
def test_a_malformed_name_is_refused_before_any_call(command: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("command", "unit"),
    [
        (["replicate", "me/music"], "instances"),
        (["huggingface", "me/music", "--endpoint", "music"], "replicas"),
        (["runpod", "music", "--image", IMAGE], "workers"),
    ],
)
def test_limits_that_are_no_range_are_listed(
    command: list[str],
    unit: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("RUNPOD_API_KEY", "REPLICATE_API_TOKEN", "HF_TOKEN"):
        monkeypatch.delenv(name)
    assert main([*command, "--min", "4", "--max", "2", "--dry-run"]) == 2
    assert f"NO  {unit}: 4 to 2: --min" in capsys.readouterr().out


def test_a_platform_away_in_the_middle_of_the_checks_ends_no_list(
    endpoints: RunPodManagement,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer = endpoints.answer
    monkeypatch.setattr(
        endpoints,
        "answer",
        lambda method, path, body: (
            (503, {"detail": "maintenance"}) if "volumes" in path else answer(method, path, body)
        ),
    )
    assert main(["runpod", "music", "--image", IMAGE, "--volume", "v1", "--dry-run"]) == 2
    out = capsys.readouterr().out
    assert "NO  volumes: " in out and "maintenance" in out and "licence of the image's model" in out
    assert TOKEN not in out
