"""The sequence of a deployment: checks first, no change twice, and a rollback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.deploy import checks, history
from infra.deploy.run import DeployOptions, deploy
from infra.deploy.target import Check, CheckError, DeployError, Step
from tests.support.s3_server import Bucket, s3_server


class Shelf:
    """Target with one word as its release, deployed in two steps."""

    name = "shelf"

    def __init__(self, release: str, current: str | None = None) -> None:
        self._release, self.current = release, current
        self.is_ready = True
        self.built: list[bool] = []
        self.breaks_after_step = 2

    def preflight(self, builds: bool) -> Iterator[Check]:
        yield Check("floor", True)
        self.built.append(builds)
        yield Check("wall", self.is_ready, "" if self.is_ready else "build one")

    def find_current_release(self) -> str | None:
        return self.current

    def predict_release(self) -> str | None:
        return self._release

    def preview(self) -> str:
        return "it will be tidier"

    def plan_steps(self, release: str | None) -> list[Step]:
        def put() -> None:
            self.current = release or self._release

        def look() -> None:
            if self.breaks_after_step < 2:
                raise DeployError("it fell")

        return [Step("put it", put), Step("look at it", look)]

    def list_removal(self) -> list[str]:
        return ["clear it"]


@pytest.fixture(autouse=True)
def _own_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_a_release_is_brought_and_the_same_again_changes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shelf = Shelf("two", "one")
    assert deploy(shelf, DeployOptions()) == 0
    assert shelf.current == "two"
    out = capsys.readouterr().out
    assert "$ put it" in out and "To take it down: clear it" in out
    assert deploy(shelf, DeployOptions()) == 0
    out = capsys.readouterr().out
    assert "nothing to do" in out and "$" not in out
    assert [(each.before, each.after) for each in history.read_changes("shelf")] == [("one", "two")]


def test_a_rollback_brings_back_what_stood_there_and_another_undoes_it() -> None:
    shelf = Shelf("two", "one")
    deploy(shelf, DeployOptions())
    assert deploy(shelf, DeployOptions(rollback=True)) == 0
    assert shelf.current == "one"
    assert deploy(shelf, DeployOptions(rollback=True)) == 0
    assert shelf.current == "two"
    assert shelf.built == [True, False, False]


def test_a_rollback_to_what_nobody_remembers_wants_a_name() -> None:
    shelf = Shelf("two", "one")
    with pytest.raises(DeployError, match="--to"):
        deploy(shelf, DeployOptions(rollback=True))
    assert shelf.current == "one"
    assert deploy(shelf, DeployOptions(rollback=True, to="zero")) == 0
    assert shelf.current == "zero"


def test_a_rollback_without_a_deployment_is_a_failed_check() -> None:
    with pytest.raises(CheckError, match="nothing is deployed"):
        deploy(Shelf("two"), DeployOptions(rollback=True))


def test_a_bad_line_of_the_history_is_named() -> None:
    history.append_change("shelf", "one", "two")
    with history.history_file().open("a") as file:
        file.write('{"at": "now"}\n')
    with pytest.raises(CheckError, match="line 2 is no change"):
        deploy(Shelf("three", "two"), DeployOptions(rollback=True))
    assert deploy(Shelf("three", "two"), DeployOptions()) == 0


def test_the_error_of_a_step_is_shown_though_the_platform_is_gone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A second error, from the question for the release, hid the first one."""
    shelf = Shelf("two", "one")

    def fail() -> None:
        shelf.find_current_release = _raise_gone  # type: ignore[method-assign]
        raise DeployError("the push failed")

    shelf.plan_steps = lambda release: [Step("push", fail)]  # type: ignore[method-assign]
    with pytest.raises(DeployError, match="the push failed"):
        deploy(shelf, DeployOptions())
    assert "Before the failure it was one" in capsys.readouterr().out


def _raise_gone() -> str | None:
    raise DeployError("no answer")


@pytest.mark.parametrize(
    ("image", "is_met"),
    [
        ("ghcr.io/me/music@sha256:" + 64 * "a", True),
        ("localhost:5000/me/music:1.2@sha256:" + 64 * "a", True),
        ("ghcr.io/OWNER/NAME@sha256:...", False),
        ("ghcr.io/me/music:latest", False),
        ("ghcr.io/me/music@sha256:" + 63 * "a", False),
    ],
)
def test_an_image_has_its_whole_digest(image: str, is_met: bool) -> None:
    """The docs' own placeholder passed."""
    assert checks.check_image(image).is_met == is_met


def test_an_answer_without_memory_is_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '580.1, [N/A]'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert "no driver version and memory" in checks.check_local_gpu(None).detail


def test_a_check_that_fails_keeps_everything_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    shelf = Shelf("two", "one")
    shelf.is_ready = False
    for wish in (DeployOptions(), DeployOptions(dry_run=True), DeployOptions(rollback=True)):
        assert deploy(shelf, wish) == 2
    assert shelf.current == "one" and not history.read_changes("shelf")
    assert "NO  wall: build one" in capsys.readouterr().out


def test_a_dry_run_shows_and_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    shelf = Shelf("two", "one")
    assert deploy(shelf, DeployOptions(dry_run=True)) == 0
    out = capsys.readouterr().out
    assert "tidier" in out and "would run: put it" in out
    assert out.endswith("To take it down: clear it\n")
    assert shelf.current == "one" and not history.history_file().exists()


def test_a_dry_run_shows_how_to_take_a_release_down(capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy(Shelf("one", "one"), DeployOptions(dry_run=True)) == 0
    assert capsys.readouterr().out.endswith("To take it down: clear it\n")
    assert deploy(Shelf("one", None), DeployOptions(dry_run=True)) == 0
    assert "take it down" not in capsys.readouterr().out


def test_half_a_change_is_remembered_and_can_be_taken_back() -> None:
    shelf = Shelf("two", "one")
    shelf.breaks_after_step = 1
    with pytest.raises(DeployError, match="it fell"):
        deploy(shelf, DeployOptions())
    assert shelf.current == "two"
    shelf.breaks_after_step = 2
    deploy(shelf, DeployOptions(rollback=True))
    assert shelf.current == "one"


def test_a_rollback_that_failed_is_finished_by_the_next(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The second `--rollback` went forward again, to the release that was being left."""
    shelf = Shelf("two", "one")
    deploy(shelf, DeployOptions())
    shelf.breaks_after_step = 1
    for _ in range(2):
        with pytest.raises(DeployError, match="it fell"):
            deploy(shelf, DeployOptions(rollback=True))
        assert shelf.current == "one"
    shelf.breaks_after_step = 2
    assert deploy(shelf, DeployOptions(rollback=True)) == 0
    assert shelf.current == "one" and "$ look at it" in capsys.readouterr().out
    assert deploy(shelf, DeployOptions(rollback=True)) == 0
    assert shelf.current == "two"


def test_a_release_whose_deployment_failed_is_no_finished_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shelf = Shelf("two", "one")
    shelf.breaks_after_step = 1
    with pytest.raises(DeployError, match="it fell"):
        deploy(shelf, DeployOptions())
    shelf.breaks_after_step = 2
    for wish in (DeployOptions(), DeployOptions(to="two")):
        capsys.readouterr()
        assert deploy(shelf, wish) == 0
        out = capsys.readouterr().out
        assert ("$ look at it" in out) == (wish.to is None)
    assert deploy(shelf, DeployOptions(rollback=True)) == 0
    assert shelf.current == "one"


def test_the_history_is_its_owner_s_and_of_one_place() -> None:
    history.append_change("here", None, "a")
    history.append_change("there", "x", "y")
    history.append_change("here", "a", "b")
    file = history.history_file()
    assert file.stat().st_mode & 0o077 == 0
    assert [json.loads(line)["place"] for line in file.read_text().splitlines()] == [
        "here",
        "there",
        "here",
    ]
    assert history.find_previous("here", "b") == "a" and history.find_previous("there", "y") == "x"
    assert (
        history.find_previous("here", "a") is None and history.find_previous("nowhere", "y") is None
    )


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with s3_server() as found:
        yield found


def test_a_bucket_is_tried_and_left_as_it_was(bucket: Bucket) -> None:
    before = bucket.keys()  # moto's buckets are one for all servers of a process
    (found,) = checks.check_bucket(bucket.env)
    assert (found.is_met, found.detail) == (True, "writable")
    assert bucket.keys() == before


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"MUSICGEN_BUCKET": "no-such-bucket"}, "create it first"),
        ({"MUSICGEN_BUCKET_ENDPOINT_URL": "http://127.0.0.1:9"}, "could not be reached"),
        ({"MUSICGEN_BUCKET_ADDRESSING": "sideways"}, "MUSICGEN_BUCKET_ADDRESSING"),
    ],
)
def test_a_bucket_that_cannot_be_written_is_said(
    bucket: Bucket, wrong: dict[str, str], said: str
) -> None:
    (found,) = checks.check_bucket(bucket.env | wrong)
    assert not found.is_met and said in found.detail


def test_without_a_bucket_none_is_tried() -> None:
    assert list(checks.check_bucket({})) == []


@pytest.mark.parametrize(
    ("driver", "gigabytes", "model", "said"),
    [
        ("580.65.06", 24, "large", "driver 580.65.06, 25.8 GB"),
        ("570.10", 24, "small", "too old"),
        ("580.65.06", 4, "large", "large needs 8.5 GB"),
        ("590.1", 4, None, "driver 590.1"),
        ("590.1", 4, "packed/mine.packed", "driver 590.1"),
    ],
)
def test_a_gpu_is_new_enough_and_large_enough(
    driver: str, gigabytes: int, model: str | None, said: str
) -> None:
    found = checks.check_gpu(driver, gigabytes * 2**30, model)
    assert said in found.detail
    assert found.is_met is ("old" not in said and "needs" not in said)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("small", "CC-BY-NC-4.0: no commercial use"),
        ("demo", "Apache-2.0"),
        ("me/tune", "unknown"),
    ],
)
def test_the_licence_is_shown(model: str, said: str) -> None:
    assert said in checks.show_licence(model).detail
