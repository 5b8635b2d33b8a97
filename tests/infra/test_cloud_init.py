"""The user data of a GPU machine is valid for cloud-init, complete, and free of secrets."""

from __future__ import annotations

import base64
import gzip
import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.check.tools import find_tool, lint
from infra.machine.__main__ import main
from infra.machine.user_data import FOLDER, IMAGES, BadValue, render_user_data
from tests.support import ROOT

HOST = "music.example.org"
DIGEST = "@sha256:" + 64 * "a"
NAMES = {name: f"ghcr.io/me/{name.lower().replace('_', '-')}{DIGEST}" for name in IMAGES}
needs_cloud_init = pytest.mark.skipif(
    find_tool("cloud-init") is None, reason="needs cloud-init: `make check-infra`"
)


@pytest.fixture(scope="module")
def user_data() -> str:
    return render_user_data(HOST, NAMES)


def _write_files(user_data: str, folder: Path) -> dict[str, Path]:
    """Write the files as cloud-init does, below a folder; return them by their path."""
    files = {}
    for entry in yaml.safe_load(user_data)["write_files"]:
        data = entry["content"].encode()
        if entry.get("encoding") == "gz+b64":
            data = gzip.decompress(base64.b64decode(data))
        path = folder / entry["path"].lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(int(entry.get("permissions", "0644"), 8))
        files[entry["path"]] = path
    return files


def _validate(text: str, folder: Path) -> str:
    """Return the output of cloud-init's own validation."""
    path = folder / "user-data.yaml"
    path.write_text(text, encoding="utf-8")
    command = (str(find_tool("cloud-init")), "schema", "--config-file", str(path))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


@needs_cloud_init
def test_cloud_init_takes_it(user_data: str, tmp_path: Path) -> None:
    assert "Valid cloud-config" in _validate(user_data, tmp_path)


@needs_cloud_init
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("packages:\n", "packages: docker\nother:\n"),
        ("gz+b64", "rar"),
        ("license-accepted", "agreed"),
    ],
)
def test_cloud_init_refuses_mistakes(user_data: str, tmp_path: Path, old: str, new: str) -> None:
    """The validation finds what a machine would only log."""
    assert "Valid cloud-config" not in _validate(user_data.replace(old, new, 1), tmp_path)


def test_the_machine_gets_the_files_of_compose(user_data: str, tmp_path: Path) -> None:
    """Relative paths of compose.yaml must lead to files on the machine too."""
    files = _write_files(user_data, tmp_path)
    compose = files[f"{FOLDER}/infra/compose/compose.yaml"]
    assert compose.read_text() == (ROOT / "infra/compose/compose.yaml").read_text()
    for service in yaml.safe_load(compose.read_text())["services"].values():
        for volume in service.get("volumes", []):
            if volume.startswith("."):
                assert (compose.parent / volume.split(":")[0]).resolve() in files.values()
    assert HOST in files["/etc/caddy/Caddyfile"].read_text()
    assert os.access(files[f"{FOLDER}/start.sh"], os.X_OK)


def test_the_script_makes_the_secrets_once(user_data: str, tmp_path: Path) -> None:
    """A second run with new passwords would lock the service out of its own database."""
    files = _write_files(user_data, tmp_path)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("modprobe", "nvidia-ctk", "systemctl", "docker"):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@" >> "{tmp_path}/calls"\n')
        (programs / name).chmod(0o755)
    script = files[f"{FOLDER}/start.sh"]
    home = tmp_path / FOLDER.lstrip("/")
    script.write_text(script.read_text().replace(f"cd {FOLDER}\n", f'cd "{home}"\n'))
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    for _ in range(2):
        subprocess.run([str(script)], env=environment, check=True, timeout=30)
        made = (home / ".env").read_text()
        values = dict(line.split("=", 1) for line in made.splitlines())
        if _ == 0:
            first = made
    assert made == first
    assert stat.S_IMODE((home / ".env").stat().st_mode) == 0o600
    example = (ROOT / "infra/compose/.env.example").read_text().splitlines()
    assert values.keys() == {line.rstrip("=") for line in example if line and line[0] != "#"}
    assert len({values[n] for n in ("POSTGRES_PASSWORD", "BUCKET_KEY_ID", "BUCKET_SECRET")}) == 3
    assert all(values.values())
    calls = (tmp_path / "calls").read_text()
    assert "docker compose -f infra/compose/compose.yaml --env-file .env up -d --wait" in calls


@pytest.mark.skipif(find_tool("shellcheck") is None, reason="needs shellcheck")
def test_the_script_is_clean() -> None:
    assert lint("shellcheck", "infra/machine/start.sh") == []


@pytest.mark.parametrize(
    ("host", "change", "message"),
    [
        ("https://music.example.org", {}, "host"),
        ("a.org {\n}", {}, "host"),
        (HOST, {"API_IMAGE": ""}, "API_IMAGE missing"),
        (HOST, {"API_IMAGE": "ghcr.io/me/api:latest"}, "has no digest"),
        (HOST, {"WORKER_IMAGE": f"x/y{DIGEST}\nPOSTGRES_PASSWORD=a"}, "has no digest"),
    ],
)
def test_bad_values_are_refused(host: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadValue, match=message):
        render_user_data(host, NAMES | change)


def test_the_passwords_of_a_file_stay_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """User data can be read by every process of a machine, and by the cloud."""
    lines = [*(f"{name}={value}" for name, value in NAMES.items()), "POSTGRES_PASSWORD=hidden-one"]
    path = tmp_path / ".env"
    path.write_text("# comment\n\n" + "\n".join(lines) + "\n")
    assert main([HOST, "--env", str(path)]) == 0
    output = capsys.readouterr().out
    assert "hidden-one" not in output
    assert json.dumps(yaml.safe_load(output))


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"API_IMAGE=x\n"])
def test_an_unusable_file_ends_with_advice_and_status_2(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "images"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        main([HOST, "--env", str(path)])
    output = capsys.readouterr()
    assert ended.value.code == 2 and output.out == ""
    assert "infra/compose/.env.example" in output.err and "Traceback" not in output.err
