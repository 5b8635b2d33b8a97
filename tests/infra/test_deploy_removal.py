"""A deployment ends with the commands that end its costs, in the words of each platform."""

from __future__ import annotations

import argparse
import subprocess

import pytest

from infra.check.tools import ROOT, find_tool
from infra.deploy.compose import Compose
from infra.deploy.huggingface import HuggingFace, HuggingFaceOptions
from infra.deploy.kubernetes import Kubernetes
from infra.deploy.modal import Modal
from infra.deploy.options import add_targets
from infra.deploy.replicate import Replicate, ReplicateOptions
from infra.deploy.sagemaker import SageMaker
from infra.deploy.sagemaker_plan import SageMakerOptions
from infra.modal.options import ModalOptions


def _accepts(program: str, *arguments: str) -> bool:
    """Return whether a program knows a command, by its help."""
    tool = find_tool(program)
    assert tool is not None
    done = subprocess.run([tool, *arguments, "--help"], capture_output=True, text=True)
    return done.returncode == 0


def test_hugging_face_s_own_program_knows_the_command() -> None:
    target = HuggingFace(HuggingFaceOptions("me/music", "one"), "hf_none")
    [command] = target.list_removal()
    assert command == "hf endpoints delete one --namespace me"
    assert _accepts("hf", *command.split()[1:3])


@pytest.mark.skipif(find_tool("modal") is None, reason="needs modal")
def test_modal_s_own_program_knows_the_commands() -> None:
    commands = Modal(ModalOptions(name="song")).list_removal()
    assert commands == ["modal app stop song", "modal volume delete song-weights"]
    assert all(_accepts("modal", *command.split()[1:3]) for command in commands)


def test_sagemaker_s_names_are_those_of_the_deployment() -> None:
    """An alarm and a target of the autoscaler outlive a deleted endpoint."""
    target = SageMaker(SageMakerOptions("music", region="eu-west-1", is_async=True))
    scaling, alarm, endpoint = target.list_removal()
    assert "--resource-id endpoint/music/variant/AllTraffic" in scaling
    assert "delete-alarms --alarm-names music-from-zero" in alarm
    assert "delete-endpoint --endpoint-name music" in endpoint
    assert all(each.endswith("--region eu-west-1") for each in (scaling, alarm, endpoint))


def test_the_volumes_of_compose_stay() -> None:
    [command] = Compose(is_on_cpu=True).list_removal()
    assert command.endswith("compose.cpu.yaml down") and "--volumes" not in command


def test_a_model_of_replicate_without_a_deployment_costs_only_calls() -> None:
    assert Replicate(ReplicateOptions("me/music"), "r8").list_removal() == []
    stop, delete = Replicate(ReplicateOptions("me/music", "me/live"), "r8").list_removal()
    assert stop.startswith("curl -X PATCH") and '{"min_instances": 0}' in stop
    assert delete.partition("  #")[0].endswith("/v1/deployments/me/live")
    assert "r8" not in stop + delete


def _read_table() -> dict[str, str]:
    """Return the commands of docs/deploying.md by target."""
    text = (ROOT / "docs/deploying.md").read_text("utf-8")
    section = text.partition("\n## Take a deployment down\n")[2].partition("\n## ")[0]
    rows = (line.split(" | ") for line in section.splitlines() if line.startswith("| `"))
    return {row[0].removeprefix("| ").strip("`"): row[1] for row in rows}


def test_the_page_has_a_row_for_each_target() -> None:
    parser = argparse.ArgumentParser()
    add_targets(parser)
    [targets] = (each for each in parser._actions if isinstance(each.choices, dict))
    assert targets.choices is not None
    assert set(_read_table()) == set(targets.choices)


def test_the_page_has_the_commands_that_a_deployment_shows() -> None:
    targets = {
        "replicate": Replicate(ReplicateOptions("OWNER/MODEL", "OWNER/NAME"), "r8"),
        "huggingface": HuggingFace(HuggingFaceOptions("OWNER/NAME", "ENDPOINT"), "hf_none"),
        "modal": Modal(ModalOptions(name="NAME")),
        "sagemaker": SageMaker(SageMakerOptions("NAME", is_async=True)),
        "compose": Compose(),
        "kubernetes": Kubernetes("production", None, False),
    }
    table = _read_table()
    for name, target in targets.items():
        commands = [command.partition("  #")[0] for command in target.list_removal()]
        assert commands
        for command in commands:
            assert f"`{command}`" in table[name]
