"""`musicgen doctor`: one line for each check, every fault at once, and an end in any case."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from handlers.doctor.extra_checks import _needs_torch
from handlers.doctor.finding import Finding, run_checks
from handlers.doctor.folder_checks import read_file_system
from handlers.job_api.packages import DATABASE, EMBEDDED_DATABASE
from musicgen.errors import DiskFull
from musicgen.settings import Settings
from tests.support import ROOT
from tests.support.commands import Ended, run_command
from tests.support.job_server import environment, free_port
from tests.support.packs import pack_folder
from tests.support.tcp_postgres import tcp_postgres


@pytest.fixture
def doctor(tmp_path: Path) -> Callable[..., Ended]:
    def run(*options: str, root: Path = ROOT, **settings: object) -> Ended:
        env = environment(tmp_path / "data", **settings)
        options = ("doctor", *options, "--port", str(free_port()))
        return run_command(list(options), env, root=root)

    return run


def _states(ended: Ended) -> dict[str, tuple[str, str]]:
    """State and text of each check; of several findings the last one."""
    return {f["check"]: (f["state"], f["text"]) for f in json.loads(ended.text)}


def test_a_right_installation_has_no_error(doctor: Callable[..., Ended], tmp_path: Path) -> None:
    ended = doctor()
    assert ended.status == 0, ended
    assert all(line.startswith(("ok ", "warning ")) for line in ended.lines[:-1])
    assert ended.lines[-1].startswith("0 errors, ")
    assert any("Apache-2.0" in line for line in ended.lines)
    assert not (tmp_path / "data").exists(), "a folder of root's would be closed to the server"


def test_the_settings_are_named_and_the_errors_counted(doctor: Callable[..., Ended]) -> None:
    """A variable that Kubernetes made of a Service is no setting, although its name is one."""
    link = {"MUSICGEN_METRICS_PORT": "tcp://10.0.0.7:9090"}
    text = _states(doctor("api", "--json", **link))["settings"][1]
    assert text == "set: MUSICGEN_DATA_DIR, MUSICGEN_MODEL, MUSICGEN_THREADS"
    assert doctor("api", MUSICGEN_SLOTZ=1).lines[-1].startswith("1 error, ")


@pytest.mark.parametrize(
    ("form", "settings", "needed"),
    [
        (None, {}, True),
        ("native-float32", {}, False),
        ("plain-float32", {}, True),
        ("native-float32", {"engine": "transformers"}, True),
        ("native-float32", {"device": "cuda"}, True),
        ("native-float32", {"model": "https://host/small.packed"}, False),
    ],
)
def test_a_packed_native_file_needs_no_torch(
    checkpoints: Callable[[str], Path],
    tmp_path: Path,
    form: str | None,
    settings: dict[str, str],
    needed: bool,
) -> None:
    model = "demo"
    if form is not None:
        model = str(pack_folder(checkpoints("musicgen-small"), form, tmp_path).path)
    chosen = Settings(**{"model": model, "precision": "float32", **settings})  # type: ignore[arg-type]
    assert _needs_torch(chosen) == needed


def test_every_fault_is_said_at_once(doctor: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    ended = doctor(
        "--json",
        MUSICGEN_SLOTZ=2,
        MUSICGEN_THREADS="two",
        MUSICGEN_BUCKET="music",
        MUSICGEN_BUCKET_ACCESS_KEY_ID="id",
        MUSICGEN_MODEL="/no/such/folder",
        DATABASE_URL="postgresql://me:hush@127.0.0.1:1/music",
    )
    assert ended.status == 1 and "hush" not in ended.text
    findings = json.loads(ended.text)
    errors = [f["text"] for f in findings if f["state"] == "error"]
    for says in (
        "Did you mean MUSICGEN_SLOTS?",
        "MUSICGEN_THREADS must be",
        "must be set together",
        "MUSICGEN_MODEL is not an existing folder or file",
        "Connection refused",
        "MUSICGEN_DATA_DIR: cannot write",
    ):
        assert sum(says in text for text in errors) == 1, (says, errors)


def test_the_options_choose_the_checks(doctor: Callable[..., Ended]) -> None:
    """An API loads no model: it needs neither weights nor a GPU."""
    ended = doctor("api", "--json", MUSICGEN_MODEL="/no/such/folder", MUSICGEN_DEVICE="cuda")
    assert ended.status == 0 and "model" not in _states(ended)
    ended = doctor("worker", "--json", "--model", "small", HF_HUB_OFFLINE=1, HF_HOME="/nowhere")
    states = _states(ended)
    assert states["licence"] == ("ok", "CC-BY-NC-4.0: no commercial use")
    assert states["model"][0] == "error" and "ports" not in states


def test_a_missing_model_is_told_once_by_the_name_that_was_typed(
    doctor: Callable[..., Ended], tmp_path: Path
) -> None:
    """Guards a second error of memory or licence, and a variable that nobody has set."""
    for options, settings, subject in (
        (["--model", "/no/such"], {}, "--model"),
        ([], {"MUSICGEN_MODEL": "/no/such"}, "MUSICGEN_MODEL"),
    ):
        findings = json.loads(doctor("worker", "--json", *options, **settings).text)
        errors = [finding["text"] for finding in findings if finding["state"] == "error"]
        assert errors == [f"{subject} is not an existing folder or file (was '/no/such')."]
        assert "licence" not in {finding["check"] for finding in findings}
    empty = tmp_path / "empty"
    empty.mkdir()
    findings = json.loads(doctor("worker", "--json", "--model", str(empty)).text)
    assert [f["check"] for f in findings if f["state"] == "error"] == ["model"]
    assert "licence" not in {finding["check"] for finding in findings}


def test_doctor_and_keys_need_the_same_packages(
    doctor: Callable[..., Ended], tmp_path: Path
) -> None:
    """Guards a command that begins without a package that its database needs."""
    for package in (*DATABASE, EMBEDDED_DATABASE):
        blocked = tmp_path / package
        blocked.mkdir()
        (blocked / "sitecustomize.py").write_text(
            "import importlib.util\nfound = importlib.util.find_spec\n"
            f"importlib.util.find_spec = lambda name, *a: name != {package!r} and found(name, *a)"
            " or None\n"
        )
        path = {"PYTHONPATH": f"{blocked}:{ROOT}"}
        states = _states(doctor("api", "--json", **path))
        assert states["database"][0] == "warning"
        assert states["packages"][0] == "error" and package in states["packages"][1]
        ended = run_command(["keys", "list"], environment(tmp_path / "data", **path))
        assert ended.status == 78 and f"needs the package {package}," in ended.text


def test_more_threads_than_processors_are_a_warning(doctor: Callable[..., Ended]) -> None:
    states = _states(doctor("--json", MUSICGEN_THREADS=999))
    assert states["threads"][0] == "warning" and "999 threads" in states["threads"][1]


def test_a_database_tells_its_version_and_schema(doctor: Callable[..., Ended]) -> None:
    with tcp_postgres() as server:
        state, text = _states(doctor("api", "--json", DATABASE_URL=server.url()))["database"]
        assert state == "ok" and text.endswith("/music, empty: the first server makes the tables")


@pytest.mark.slow
def test_without_the_native_step_its_packed_files_are_refused_with_the_reason(
    doctor: Callable[..., Ended], tmp_path: Path, checkpoints: Callable[[str], Path]
) -> None:
    root = tmp_path / "code"
    for name in ("musicgen", "handlers"):
        shutil.copytree(
            ROOT / name, root / name, ignore=shutil.ignore_patterns("*.so", "__pycache__")
        )
    packed = tmp_path / "m.packed"
    pack_folder(checkpoints("musicgen-small"), "native-int8", packed)
    states = _states(doctor("--json", root=root, PYTHONPATH=root, MUSICGEN_MODEL=packed))
    assert states["native step"][0] == "warning" and "not compiled" in states["native step"][1]
    assert states["model"][0] == "error" and "without the native step" in states["model"][1]


@pytest.mark.slow
def test_services_that_never_answer_are_errors(doctor: Callable[..., Ended]) -> None:
    """They accept connections and stay silent, as a hung server or a wrong proxy does."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        ended = doctor(
            "api",
            "--json",
            DATABASE_URL=f"postgresql://me:hush@{place}/music",
            MUSICGEN_BUCKET="music",
            MUSICGEN_BUCKET_ENDPOINT_URL=f"http://{place}",
            MUSICGEN_BUCKET_ACCESS_KEY_ID="id",
            MUSICGEN_BUCKET_SECRET_ACCESS_KEY="secret",
        )
    states = _states(ended)
    assert ended.status == 1 and "hush" not in ended.text
    assert states["database"][0] == "error" and "no answer within 3 s" in states["database"][1]
    assert states["bucket"][0] == "error" and "could not be reached" in states["bucket"][1]


def test_a_check_without_an_answer_does_not_hold_up_the_others() -> None:
    never = threading.Event()

    def wait() -> Iterator[Finding]:
        never.wait(60)
        yield Finding("slow", "ok", "late")

    def fail() -> Iterator[Finding]:
        raise DiskFull("full")

    findings = run_checks(
        {"slow": wait, "disk": fail, "quick": lambda: [Finding("quick", "ok", "well")]}, 0.3
    )
    never.set()
    assert [(f.check, f.state) for f in findings] == [
        ("slow", "error"),
        ("disk", "error"),
        ("quick", "ok"),
    ]
    assert "no result within 0.3 s" in findings[0].text


def test_one_fault_of_two_checks_is_said_once() -> None:
    def fail() -> Iterator[Finding]:
        raise DiskFull("full")

    assert len(run_checks({"a": fail, "b": fail})) == 1


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"/dev/sda / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\n"
        f"tmpfs {tmp_path}/with\\040space tmpfs rw 0 0\n"
    )
    assert read_file_system(tmp_path / "data", mounts) == "nfs4"
    assert read_file_system(tmp_path / "with space/data", mounts) == "tmpfs"
    assert read_file_system(Path("/srv"), mounts) == "ext4"
