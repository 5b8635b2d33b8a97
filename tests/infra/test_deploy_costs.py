"""An operator sees what a deployment costs before it is made, idle instances above all."""

from __future__ import annotations

import pytest

from infra.deploy.costs import GPUS, Fleet, show_costs
from infra.deploy.run import show_checks
from infra.deploy.speed import NAMES
from musicgen.capacity.plan import PRICES


def test_a_fleet_from_zero_costs_nothing_without_a_call() -> None:
    check = show_costs(Fleet("runpod", ["ADA_24", "AMPERE_24"], 0, 3))
    assert check.is_met and not check.is_risky
    assert "up to $1.116 an hour for each instance, $3.348 for --max 3" in check.detail
    assert PRICES["read"] in check.detail and "a month" not in check.detail


def test_instances_without_a_call_are_marked(capsys: pytest.CaptureFixture[str]) -> None:
    """RunPod has a lower price for those that are always there."""
    assert show_checks([show_costs(Fleet("runpod", ["ADA_24"], 2, 3))])
    shown = capsys.readouterr().out
    assert shown.startswith("!!  cost: ")
    assert f"--min 2 costs ${730 * 2 * 0.756:.0f} a month without a call" in shown


@pytest.mark.parametrize(
    ("fleet", "words"),
    [
        (Fleet("vertex", ["NVIDIA_L4"], 1, 2), "no price of NVIDIA_L4 is known here"),
        (Fleet("sagemaker", ["ml.g5.12xlarge"], 1, 2), "no price of ml.g5.12xlarge"),
        (Fleet("modal", ["L4", "B200"], 1, 2), "no price of L4, B200"),
        (Fleet("cloudrun", [], 1, 2), "no price of the processor"),
    ],
)
def test_an_unknown_price_is_said_and_idle_instances_still_marked(fleet: Fleet, words: str) -> None:
    check = show_costs(fleet)
    assert check.is_met and check.is_risky
    assert words in check.detail and "--min 1 costs it without a call" in check.detail


def test_several_gpus_cost_several_times() -> None:
    one, two = (show_costs(Fleet("modal", [gpu], 0, 1)).detail for gpu in ("T4", "T4:2"))
    assert "$0.5904 an hour" in one and "$1.181 an hour" in two


def test_every_name_has_a_price_and_a_speed() -> None:
    offered = {(offer["platform"], offer["gpu"]) for offer in PRICES["offers"]}
    for platform, names in GPUS.items():
        for name, gpu in names.items():
            assert (platform, gpu) in offered
            assert name in NAMES or name.rpartition(".")[0] in NAMES
