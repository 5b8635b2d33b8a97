"""`make` in a checkout below a folder with a space."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import venv
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
import soundfile as sf

from tests.support import ROOT
from tests.support.job_server import data_folder, free_port, wait_until_ready

PARTS = (
    *("musicgen", "musicgen_client", "handlers"),
    *("pyproject.toml", "Makefile", "README.md", "LICENSE"),
)
STAMPS = ("torch-installed", "installed", "api-installed")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code, installed as the Makefile does it; it borrows the other packages."""
    folder = tmp_path_factory.mktemp("make") / "My projects"
    folder.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.so")
            shutil.copytree(ROOT / part, folder / part, ignore=ignored)
        else:
            shutil.copy(ROOT / part, folder)
    venv.create(folder / ".venv", with_pip=False)
    (packages,) = folder.glob(".venv/lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "-e", "."]
    subprocess.run([".venv/bin/python", *install], cwd=folder, env=_bare(folder), check=True)
    for stamp in STAMPS:
        (folder / ".venv" / stamp).touch()
    return folder


def _bare(folder: Path) -> dict[str, str]:
    """The environment of a user whose home has a space too."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder.with_name("My home"))}


@pytest.mark.slow
def test_make_demo(checkout: Path) -> None:
    """The package is compiled there too."""
    assert list(checkout.glob("musicgen/model/native/_step*.so"))
    output = checkout / "out put" / "a demo.wav"
    command = ["make", "demo", f"DEMO_OUT={output.relative_to(checkout)}"]
    subprocess.run(command, cwd=checkout, env=_bare(checkout), check=True)
    assert sf.info(output).duration == 4


@pytest.mark.slow
def test_make_api(checkout: Path) -> None:
    """PostgreSQL's socket folder was split at the space.

    Named, because root's own data folder has none, and is that of the machine.
    """
    port, log = free_port(), checkout.with_name("log")
    with data_folder(with_database=False) as data, log.open("wb") as file:
        make = subprocess.Popen(
            ["make", "api", f"API_PORT={port}"],
            cwd=checkout,
            env={**_bare(checkout), "MUSICGEN_DATA_DIR": str(data.with_name("My data"))},
            stdout=file,
            stderr=file,
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}") as http:
                wait_until_ready(http, make, log, 1)
                job = http.post("/generate", json={"prompt": "piano", "duration": 0.2})
                assert job.status_code == 202, job.text
        finally:
            # make itself has ended already if its server did not start.
            with suppress(psutil.NoSuchProcess):
                for server in psutil.Process(make.pid).children(recursive=True)[:1]:
                    server.terminate()
            make.wait(60)
    assert "Traceback" not in log.read_text()
