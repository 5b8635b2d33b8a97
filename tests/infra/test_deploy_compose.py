"""Deployment of the compose file, and its rollback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.deploy import shell
from infra.deploy.__main__ import main
from tests.support.docker_program import Docker

VARIABLES = ("API", "WORKER", "POSTGRES", "SEAWEEDFS", "PROMETHEUS")


def _images(digit: str) -> dict[str, str]:
    return {f"{name}_IMAGE": f"me/{name.lower()}@sha256:{digit * 64}" for name in VARIABLES}


class Machine:
    """Machine with a fake Docker and a fake nvidia-smi."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.docker = Docker(folder)
        secrets = dict.fromkeys(("POSTGRES_PASSWORD", "BUCKET_KEY_ID", "BUCKET_SECRET"), "x")
        self._env = secrets | {"MUSICGEN_MODEL": "large"}
        self._smi = folder / "nvidia-smi"
        self.gpu("580.65.06, 24564")
        self.images("1")
        programs = {"docker": str(self.docker.path), "nvidia-smi": str(self._smi)}
        monkeypatch.setattr(shell, "find_tool", programs.get)

    def images(self, digit: str) -> None:
        self.docker.change(env=self._env | _images(digit))

    def settings(self, **env: str) -> None:
        self.docker.change(env=self.docker.read()["env"] | env)

    def gpu(self, says: str) -> None:
        self._smi.write_text(f"#!/bin/sh\necho '{says}'\n")
        self._smi.chmod(0o755)

    @property
    def running(self) -> Any:
        return self.docker.read()["running"]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Machine(tmp_path, monkeypatch)


def test_services_come_up_and_go_back_to_their_images_before(machine: Machine) -> None:
    assert main(["compose"]) == 0
    first = machine.running
    assert "1" * 64 in first["api"] and "1" * 64 in first["worker"]
    machine.images("2")
    assert main(["compose"]) == 0
    assert "2" * 64 in machine.running["worker"]
    assert main(["compose", "--rollback"]) == 0
    assert machine.running == first


def test_a_dry_run_starts_nothing(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compose", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "DRY-RUN MODE" in out and "--wait" in out
    assert "licence of large: CC-BY-NC-4.0" in out
    assert machine.docker.read()["ups"] == 0


@pytest.mark.parametrize(
    ("gpu", "said"),
    [("535.1, 24564", "too old"), ("590.1, 6144", "large needs 8.5 GB")],
)
def test_a_gpu_that_will_not_do_is_said(
    machine: Machine, gpu: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.gpu(gpu)
    assert main(["compose"]) == 2
    assert said in capsys.readouterr().out and machine.docker.read()["ups"] == 0


def test_a_machine_without_a_gpu_is_deployed_to_when_asked(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards against a refusal for the missing GPU, although the image runs on the processor."""
    machine.docker.change(runtimes=["runc"])
    machine.settings(MUSICGEN_MODEL="small")
    monkeypatch.setattr(shell, "find_tool", {"docker": str(machine.docker.path)}.get)
    assert main(["compose"]) == 2
    assert "add --cpu to run without a GPU" in capsys.readouterr().out
    assert main(["compose", "--cpu", "--dry-run"]) == 0
    assert "compose.cpu.yaml" in capsys.readouterr().out
    assert main(["compose", "--cpu"]) == 0
    assert "1" * 64 in machine.running["worker"]


def test_a_machine_with_too_little_memory_for_the_model_is_refused(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("infra.deploy.checks._read_available_memory", lambda: 2**30)
    assert main(["compose", "--cpu"]) == 2
    assert "1.1 GB free: large needs 6.5 GB" in capsys.readouterr().out


def test_a_setting_without_a_value_is_named(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.settings(POSTGRES_IMAGE="")
    assert main(["compose"]) == 2
    assert "POSTGRES_IMAGE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("runtimes", "said"), [([], "Cannot connect"), (["runc"], "container toolkit")]
)
def test_a_docker_that_will_not_do_is_said(
    machine: Machine, runtimes: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.docker.change(runtimes=runtimes)
    assert main(["compose"]) == 2
    assert said in capsys.readouterr().out


def test_a_machine_without_docker_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shell, "find_tool", lambda name: None)
    assert main(["compose"]) == 2
    out = capsys.readouterr().out
    assert "NO  docker: `docker` is not installed" in out and "NO  GPU: " in out
    assert "--cpu runs the worker without a GPU" in out


def test_a_release_that_is_none_is_refused(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compose", "--rollback", "--to", "yesterday"]) == 1
    assert "api=IMAGE worker=IMAGE" in capsys.readouterr().err
