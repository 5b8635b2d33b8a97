"""Settings and clip lengths that a platform would cut off are named before anything is made.

The commands run without an account, as for a first look: every check that asks nobody is made.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.deploy import google_cloud
from infra.deploy.__main__ import main
from infra.deploy.call_limits import CallLimit, check_call_limits
from infra.deploy.modal import GPUS
from infra.deploy.option_types import CALL_SECONDS
from infra.deploy.runpod import POOLS
from infra.deploy.speed import BANDWIDTH, NAMES, Load, find_pace
from infra.deploy.vertex import MACHINES
from infra.modal.options import LARGEST, ModalOptions
from musicgen import catalog
from musicgen.settings.model_server import LIMITS
from tests.support import ROOT

IMAGE = "us-docker.pkg.dev/mine/music/musicgen-model@sha256:" + "1" * 64
SMALL, LARGE = ("--env", "MUSICGEN_MODEL=small"), ("--env", "MUSICGEN_MODEL=large")
RUN = ("cloudrun", "music", "--image", IMAGE)
VERTEX = ("vertex", "music", "--image", IMAGE)
SAGEMAKER = ("sagemaker", "music", "--region", "us-east-1")
ASYNC = (*SAGEMAKER, "--async", "--output", "s3://mine/answers")
RUNPOD = ("runpod", "music", "--image", IMAGE)
HF = ("huggingface", "me/music", "--endpoint", "music")


@pytest.fixture(autouse=True)
def _no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("MODAL_CONFIG_PATH", str(tmp_path / "none.toml"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(google_cloud, "find_tool", lambda name: None)
    for name in (
        *("RUNPOD_API_KEY", "REPLICATE_API_TOKEN", "HF_TOKEN", "GOOGLE_OAUTH_ACCESS_TOKEN"),
        *("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"),
    ):
        monkeypatch.delenv(name, raising=False)


def _check(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main([*command, "--dry-run"]) == 2
    return capsys.readouterr().out.splitlines()


def _find(lines: list[str], name: str) -> str:
    [found] = [line for line in lines if line[4:].startswith(f"{name}: ")]
    return found


@pytest.mark.parametrize(
    ("command", "seconds", "most", "remedy"),
    [
        (RUN, "2400", "1197", "--call-seconds raises Cloud Run's own limit to 3600 at most"),
        (VERTEX, "900", "597", "--call-seconds raises a new endpoint's limit to 3600 at most"),
        (SAGEMAKER, "300", "57", "--async allows an hour"),
        (ASYNC, "7200", "3597", ""),
    ],
    ids=["cloudrun", "vertex", "sagemaker", "asynchronous"],
)
def test_a_server_that_would_outlast_its_platform_is_refused(
    command: tuple[str, ...],
    seconds: str,
    most: str,
    remedy: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The caller got the platform's bare 504 instead of the reason."""
    setting = f"MUSICGEN_CALL_SECONDS={seconds}"
    line = _find(_check((*command, "--env", setting), capsys), "MUSICGEN_CALL_SECONDS")
    assert line.startswith("NO ") and f"the server after {seconds} s" in line
    assert f"set it to {most} at most" in line and remedy in line
    longest = f"MUSICGEN_CALL_SECONDS={most}"
    line = _find(_check((*command, "--env", longest), capsys), "MUSICGEN_CALL_SECONDS")
    assert line.startswith("ok ")


@pytest.mark.parametrize("command", [RUN, VERTEX], ids=["cloudrun", "vertex"])
def test_a_longer_call_is_one_option(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    line = _find(_check((*command, "--call-seconds", "3600"), capsys), "MUSICGEN_CALL_SECONDS")
    assert "after 3600 s" in line and "the server after 3595 s" in line


@pytest.mark.parametrize("command", [RUN, VERTEX, SAGEMAKER, ASYNC, RUNPOD, HF])
@pytest.mark.parametrize(
    ("variable", "word"),
    [("MUSICGEN_CALL_SECONDS=soon", "number of seconds"), ("MUSICGEN_SLOT=4", "MUSICGEN_SLOTS")],
)
def test_a_wrong_setting_is_found_before_the_container_starts(
    command: tuple[str, ...], variable: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A platform pulls an image of gigabytes before the server can refuse the setting."""
    line = _find(_check((*command, "--env", variable), capsys), "settings")
    assert line.startswith("NO ") and word in line


@pytest.mark.parametrize(
    ("command", "variable", "name"),
    [
        (RUN, "MUSICGEN_ANSWER_MB=100", "Cloud Run cuts an answer above 33.55 MB"),
        (VERTEX, "MUSICGEN_ANSWER_MB=11", "Vertex AI cuts an answer above 10 MB"),
        (SAGEMAKER, "MUSICGEN_ANSWER_MB=26", "SageMaker cuts an answer above 25 MB"),
        (RUN, "MUSICGEN_STOP_SECONDS=10", "Cloud Run kills the container 10 s after SIGTERM"),
        (SAGEMAKER, "MUSICGEN_STOP_SECONDS=60", "SageMaker kills the container 30 s after"),
    ],
)
def test_an_answer_and_a_stop_are_within_the_platform_s_limits(
    command: tuple[str, ...], variable: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = _find(_check((*command, "--env", variable), capsys), variable.partition("=")[0])
    assert line.startswith("NO ") and name in line


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ((*SAGEMAKER, *SMALL), "cut off after 57 s: choose a faster GPU or fewer calls at once"),
        ((*ASYNC, *LARGE), "cut off after 900 s, unless callers send InvocationTimeoutSeconds"),
        ((*VERTEX, *LARGE), "cut off after 595 s"),
        ((*RUN, *LARGE, "--call-seconds", "60"), "cut off after 55 s"),
        ((*RUNPOD, *LARGE, "--call-seconds", "60"), "--call-seconds raises the endpoint's limit"),
        (("modal", "--model", "large"), "--call-seconds raises Modal's limit"),
    ],
    ids=["sagemaker", "asynchronous", "vertex", "cloudrun", "runpod", "modal"],
)
def test_a_clip_that_may_be_cut_off_is_a_warning(
    command: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = _find(_check(command, capsys), "longest clip")
    assert line.startswith("!! ") and words in line and "estimate from" in line


@pytest.mark.parametrize(
    "command",
    [
        (*RUN, *SMALL),
        (*VERTEX, *SMALL, "--gpu", "NVIDIA_H100_80GB"),
        (*ASYNC, *SMALL),
        (*RUNPOD, *LARGE),
        (*HF, "--model", "large"),
        ("replicate", "me/music"),
        ("modal", "--model", "small"),
    ],
    ids=["cloudrun", "vertex", "asynchronous", "runpod", "huggingface", "replicate", "modal"],
)
def test_a_clip_within_the_limit_is_none(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    line = _find(_check(command, capsys), "longest clip")
    assert line.startswith("ok ") and "300 s of music take about" in line


def test_hugging_face_s_limit_is_said_to_be_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    line = _find(_check(HF, capsys), "longest clip")
    assert "the limit of Hugging Face is not documented" in line


@pytest.mark.parametrize("command", [RUN, (*SAGEMAKER, "--instance-type", "ml.c7i.xlarge")])
def test_without_figures_there_is_no_estimate(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """The image may hold another model than the command can know."""
    line = _find(_check(command, capsys), "longest clip")
    assert line.startswith("ok ") and "not estimated" in line and "a call ends after" in line


@pytest.mark.parametrize("command", [RUN, VERTEX, SAGEMAKER, RUNPOD])
def test_the_licence_of_an_image_s_own_model_is_not_guessed(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """An image with Meta's weights was shown with the licence of the demo, for any use."""
    out = "\n".join(_check(command, capsys))
    assert "Apache-2.0" not in out and "CC-BY-NC-4.0: no commercial use" in out


def test_a_rollback_is_not_held_up_by_a_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """The release before may be the one without the wrong setting."""
    wrong = ("--env", "MUSICGEN_SLOT=4")
    assert main([*RUNPOD, *wrong, "--rollback"]) == 2
    assert "settings" not in capsys.readouterr().out


@pytest.mark.parametrize("command", [RUNPOD, HF])
def test_a_setting_that_the_platform_s_worker_never_reads_is_named(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    variable = ("--env", "MUSICGEN_CALL_SECONDS=60")
    line = _find(_check((*command, *variable), capsys), "MUSICGEN_CALL_SECONDS")
    assert line.startswith("!! ") and "without effect" in line


def test_a_reference_to_a_secret_is_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    secret = "MUSICGEN_CALL_SECONDS={{ RUNPOD_SECRET_SECONDS }}"
    assert _find(_check((*RUNPOD, "--env", secret), capsys), "settings").startswith("ok ")


def test_a_secret_is_not_shown_by_a_check() -> None:
    limit = CallLimit("RunPod", 1200, "")
    env = {"MUSICGEN_BUCKET_SECRET_ACCESS_KEY": "a-secret-value"}
    [check] = check_call_limits(limit, env, Load(None, (), 1))
    assert not check.is_met and "a-secret-value" not in check.detail


@pytest.mark.parametrize("seconds", ["9", "3601", "ten", "²"])
def test_the_time_of_a_call_has_limits(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*RUN, "--call-seconds", seconds])
    assert ended.value.code == 2
    assert "is not a number of seconds from 10 to 3600." in capsys.readouterr().err


def test_every_gpu_that_a_target_offers_has_a_speed() -> None:
    from infra.deploy.cloudrun import GPUS as RUN_GPUS

    offered = {*GPUS, *POOLS, *MACHINES, *RUN_GPUS}
    assert {name for name in offered if NAMES.get(name, name) not in BANDWIDTH} == set()
    assert set(NAMES.values()) <= BANDWIDTH.keys()


def test_every_model_of_the_catalog_but_the_demo_has_an_estimate() -> None:
    models = {*catalog.CATALOG} - {catalog.DEMO}
    for model in [*models, "facebook/musicgen-stereo-melody-large", "audiogen-medium"]:
        assert find_pace(Load(model, ["L4"], 1)) is not None, model
    assert find_pace(Load(catalog.DEMO, ["L4"], 1)) is None
    large, small = (find_pace(Load(name, ["L4"], 1)) for name in ("melody-large", "small"))
    assert large and small and large.of(1) < small.of(1)


def test_of_several_gpus_the_slowest_counts() -> None:
    both, slow = (find_pace(Load("small", gpus, 8)) for gpus in (["H100", "T4"], ["T4"]))
    assert both and slow and both.of(8) == slow.of(8)


def test_a_pool_of_runpod_counts_as_its_slowest_gpu() -> None:
    """ADA_24 and AMPERE_24 may give an L4, a third as fast as the GPU in their names' examples."""
    rates = {
        name: pace.of(1)
        for name in ("L4", "A40", "AMPERE_16", "AMPERE_24", "ADA_24", "AMPERE_48")
        if (pace := find_pace(Load("small", [name], 1)))
    }
    assert rates["ADA_24"] == rates["AMPERE_24"] == rates["L4"]
    assert rates["AMPERE_48"] == rates["A40"] and rates["AMPERE_16"] < rates["L4"]


def test_the_container_s_own_defaults_are_within_the_limits() -> None:
    """Without this command, nothing but the server's defaults keeps to the limits."""
    assert LIMITS["cloudrun"].call_seconds <= CALL_SECONDS["cloudrun"][1]
    default, most = CALL_SECONDS["modal"]
    assert (ModalOptions().call_seconds, LARGEST["call_seconds"]) == (default, most)


def test_the_limits_are_those_of_the_documentation() -> None:
    page = (ROOT / "docs/platforms.md").read_text(encoding="utf-8")
    for row in (
        "| 30 minutes | - |",
        "| 60 s, live sound 8 minutes | 30 s |",
        "| 60 minutes (15 by default) | 30 s |",
        "| 10 minutes by default, up to 60 | - |",
    ):
        assert row in page
