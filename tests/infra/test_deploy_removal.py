"""A deployment ends with the commands that end its costs, in the words of each platform."""

from __future__ import annotations

import subprocess

import pytest

from infra.check.tools import find_tool
from infra.deploy.compose import Compose
from infra.deploy.huggingface import HuggingFace, HuggingFaceOptions
from infra.deploy.modal import Modal
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
    [command] = Replicate(ReplicateOptions("me/music", "me/live"), "r8").list_removal()
    assert command.endswith("/v1/deployments/me/live") and "r8" not in command
