"""Cog's folder for predictions on a disk that cannot be written to.

Cog would be ready, fail the first prediction, and answer every later one with 409.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from handlers.cog_folder import COG_FOLDER, delete_old_folders
from tests.support.cog_server import Server, cog_server

pytest.importorskip("cog")

MOUNT = f"""
mkdir -p {COG_FOLDER.parent} && mount --make-rprivate / || exit 77
mount -t tmpfs -o "$0" tmpfs {COG_FOLDER.parent} || exit 77
exec "$@"
"""


def _before(options: str) -> list[str]:
    """A command that gives the server a disk of its own for Cog's folder."""
    if os.geteuid() or shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("mounting a file system needs root's rights")
    command = ["unshare", "--mount", "sh", "-c", MOUNT, options]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("the kernel allows no mounts here")
    return command


def _remount(server: Server, options: str) -> None:
    enter = ["nsenter", "--mount", f"--target={server.process.pid}"]
    change = ["mount", "-o", f"remount,{options}", str(COG_FOLDER.parent)]
    subprocess.run([*enter, *change], check=True)


def test_a_server_that_cannot_begin_a_prediction_is_never_ready(tmp_path: Path) -> None:
    before = _before("ro")
    with cog_server(tmp_path / "cog", until="SETUP_FAILED", before=before) as server:
        logs = server.client.get("/health-check").json()["setup"]["logs"]
        assert "docker run --tmpfs /tmp" in logs
        assert str(COG_FOLDER) in logs


def test_a_disk_that_stops_taking_files_makes_the_server_unhealthy(tmp_path: Path) -> None:
    before = _before("rw")
    with cog_server(tmp_path / "cog", before=before) as server:
        server.succeed()
        server.wait_for("READY", 5)
        _remount(server, "ro")
        assert server.health() == "UNHEALTHY"
        _remount(server, "rw")
        server.wait_for("READY", 5)
        server.succeed()


def test_folders_of_old_predictions_are_deleted_and_others_stay(tmp_path: Path) -> None:
    for name, age in (("old", 100), ("with-files", 100), ("new", 0)):
        for part in ("inputs", "outputs"):
            (tmp_path / name / part).mkdir(parents=True)
        if name == "with-files":
            (tmp_path / name / "outputs" / "clip.wav").touch()
        changed = (tmp_path / name).stat().st_mtime - age
        os.utime(tmp_path / name, (changed, changed))
    delete_old_folders((tmp_path / "new").stat().st_mtime - 50, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"with-files", "new"}
    assert (tmp_path / "with-files" / "outputs" / "clip.wav").is_file()
    assert (tmp_path / "new" / "inputs").is_dir()
    delete_old_folders(0, tmp_path / "missing")


def test_cog_still_leaves_the_folders_of_its_predictions(tmp_path: Path) -> None:
    """Once Cog deletes them itself, `delete_old_folders` can go."""
    with cog_server(tmp_path / "cog") as server:
        before = set(COG_FOLDER.iterdir())
        server.succeed()
        left = set(COG_FOLDER.iterdir()) - before
        assert any((folder / "outputs").is_dir() for folder in left)
