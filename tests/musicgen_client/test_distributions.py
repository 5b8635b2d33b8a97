"""One package, two distributions: the light one runs alone, and both have the same files."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import musicgen
import musicgen_client
from infra.generate.client_types import JOB_FIELDS
from musicgen.request import request_fields
from tests.support import ROOT

LIGHT = ROOT / "clients" / "python"
NEEDED = ("httpx", "httpcore", "h11", "anyio", "idna", "certifi", "sniffio", "typing_extensions")


def test_the_fields_are_those_of_a_request() -> None:
    own = set(musicgen_client.GenerationFields.__annotations__)
    others = {line.split(":")[0].strip() for line in JOB_FIELDS.splitlines()}
    assert own == set(request_fields()) | others


def test_the_version_is_that_of_the_project() -> None:
    assert musicgen_client.__version__ == musicgen.__version__


def _build(project: Path, kind: str, out: Path) -> Path:
    """The wheel or the source distribution of a project, built in a copy of its own."""
    code = (
        "import sys, setuptools.build_meta as backend;"
        f"sys.stdout.write('\\n' + backend.build_{kind}(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(out)],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    )
    return out / done.stdout.splitlines()[-1]


def _copy(folder: Path, *names: str) -> Path:
    """A copy of some files of the checkout; links stay links."""
    listed = ["git", "ls-files", "-z", "-co", "--exclude-standard", *names]
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout
    archive = ["tar", "-c", "--null", "--files-from=-"]
    packed = subprocess.run(archive, cwd=ROOT, input=files, capture_output=True, check=True).stdout
    folder.mkdir()
    subprocess.run(["tar", "-x"], cwd=folder, input=packed, check=True)
    return folder


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The light wheel, built from its source distribution as a package index would have it."""
    folder = tmp_path_factory.mktemp("light")
    checkout = _copy(folder / "checkout", "clients/python", "musicgen_client", "LICENSE")
    source = _build(checkout / "clients" / "python", "sdist", folder)
    with tarfile.open(source) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (project,) = (folder / "unpacked").iterdir()
    assert not any(path.is_symlink() for path in project.rglob("*"))
    return _build(project, "wheel", folder)


def _client_files(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {
            name: archive.read(name)
            for name in archive.namelist()
            if name.startswith("musicgen_client/")
        }


def test_both_wheels_hold_the_same_package(light: Path, tmp_path: Path) -> None:
    names = ("pyproject.toml", "README.md", "LICENSE", "musicgen/__init__.py", "musicgen_client")
    checkout = _copy(tmp_path / "checkout", *names)
    # Its library in C++ takes a minute to compile, and is not part of this question.
    settings = (checkout / "pyproject.toml").read_text()
    start, end = settings.index("[[tool.setuptools.ext"), settings.index("[tool.cibuildwheel]")
    (checkout / "pyproject.toml").write_text(settings[:start] + settings[end:])
    main = _client_files(_build(checkout, "wheel", tmp_path))
    own = _client_files(light)
    assert own == main
    tracked = (ROOT / "musicgen_client").glob("*.py")
    assert set(own) == {f"musicgen_client/{path.name}" for path in tracked} | {
        "musicgen_client/py.typed"
    }


def test_the_light_wheel_runs_without_the_project(light: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(light) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("/METADATA"))
        described = archive.read(name).decode()
        assert any(n.endswith("licenses/LICENSE") for n in archive.namelist())
    assert [line for line in described.splitlines() if line.startswith("Requires-Dist")] == [
        "Requires-Dist: httpx>=0.28"
    ]
    assert "CC-BY-NC-4.0" in described
    venv.create(tmp_path / "venv", with_pip=False)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    with zipfile.ZipFile(light) as archive:
        archive.extractall(packages)
    installed = Path(next(p for p in map(Path, sys.path) if (p / "httpx").is_dir()))
    for package in NEEDED:
        for found in (installed / package, installed / f"{package}.py"):
            if found.exists():
                (packages / found.name).symlink_to(found)
    code = (
        "import json, sys, musicgen_client as c;"
        "c.MusicGenClient('http://127.0.0.1:9').close();"
        "print(json.dumps([c.__file__, sorted(n.split('.')[0] for n in sys.modules)]))"
    )
    done = subprocess.run(
        [tmp_path / "venv/bin/python", "-I", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    place, modules = json.loads(done.stdout)
    assert Path(place).is_relative_to(packages)
    assert not {"musicgen", "handlers", "torch", "numpy"} & set(modules)
