"""The workflows build each image that a deployment needs, with room and lists of parts."""

from __future__ import annotations

import re
import subprocess
import tomllib
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from infra.lock.check import PYTHONS
from infra.lock.files import FILES
from tests.support import ROOT

FOLDER = ROOT / ".github" / "workflows"
IMAGES = ("api", "worker", "processor", "model", "runpod")


def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return content


def test_every_image_is_built_with_a_list_of_its_parts() -> None:
    job = _read("images.yml")["jobs"]["build"]
    built = {each["image"]: each["file"] for each in job["strategy"]["matrix"]["include"]}
    assert tuple(built) == IMAGES
    assert all((ROOT / file).exists() for file in built.values())
    [build] = [step for step in job["steps"] if step.get("id") == "build"]
    assert build["with"]["sbom"] and build["with"]["provenance"] == "mode=max"
    assert any("outputs.digest" in str(step.get("env")) for step in job["steps"])


@pytest.mark.parametrize("name", ["images.yml", "push-huggingface.yml", "push-replicate.yml"])
def test_a_runner_makes_room_before_it_fetches_gigabytes(name: str) -> None:
    [job] = _read(name)["jobs"].values()
    steps = [str(step.get("run")) for step in job["steps"]]
    room = next(index for index, run in enumerate(steps) if "/usr/share/dotnet" in run)
    assert not any("infra.huggingface" in run or "infra.replicate" in run for run in steps[:room])
    assert not any("build-push" in str(step.get("uses")) for step in job["steps"][:room])


def test_every_locked_file_with_hashes_is_searched_for_advisories() -> None:
    text = (FOLDER / "check.yml").read_text(encoding="utf-8")
    # The worker's file holds that of the API.
    for file in FILES:
        if file.has_hashes and "api-" not in file.path:
            assert file.path.removeprefix("infra/").removesuffix(".txt") in text


def test_dependabot_leaves_the_locked_files_to_their_own_workflow() -> None:
    config = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text(encoding="utf-8"))
    [pip] = [each for each in config["updates"] if each["package-ecosystem"] == "pip"]
    assert pip["directory"] == "/" and "directories" not in pip
    [job] = _read("lock.yml")["jobs"].values()
    assert any("infra.lock --upgrade" in str(step.get("run")) for step in job["steps"])


def test_the_supported_pythons_are_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    oldest, newest = PYTHONS[0], PYTHONS[-1]
    assert (oldest, newest) == ("3.11", "3.13")
    assert project["project"]["requires-python"] == f">={oldest},<3.14"
    assert project["tool"]["ruff"]["target-version"] == "py311"
    assert project["tool"]["mypy"]["python_version"] == oldest
    matrix = _read("check.yml")["jobs"]["fast"]["strategy"]["matrix"]["python"]
    assert matrix == [oldest, newest]
    [torch] = project["project"]["optional-dependencies"]["torch"]
    setup, run = _read("check.yml")["jobs"]["oldest"]["steps"][-2:]
    assert setup["with"]["python-version"] == oldest and run["run"] == "make test-oldest"
    assert run["env"]["TORCH"] == f"{torch.replace('>=', '==')}.0"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"Python 3\.11( to |–|-)3\.13", readme)


def test_every_image_has_the_same_supported_python() -> None:
    """The images of Cog, RunPod, Modal and the job API, and the packages locked for them."""
    patterns = {
        "cog.yaml": r'python_version: "(.*)"',
        ".runpod/Dockerfile": r"ARG PYTHON=(.*)-slim",
        "infra/modal/app.py": r'debian_slim\("(.*)"\)',
        "infra/lock/files.py": r'_CUDA_LINUX = .*"--python-version=(.*)"',
        "infra/docker/api.Dockerfile": r"python:(.*)-slim",
        ".github/workflows/images.yml": r"python:(.*)-slim",
    }
    found = {
        path: re.findall(pattern, (ROOT / path).read_text(encoding="utf-8"))
        for path, pattern in patterns.items()
    }
    [python] = found["cog.yaml"]
    assert python in PYTHONS
    assert all(each and set(each) == {python} for each in found.values()), found


@pytest.mark.parametrize(
    "path",
    [
        "infra/docker/worker.Dockerfile",
        "infra/docker/processor.Dockerfile",
        "infra/docker/model.Dockerfile",
        ".runpod/Dockerfile",
    ],
)
def test_an_image_with_licensed_weights_is_labelled_so(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert 'org.opencontainers.image.licenses="${LICENSES}"' in text
    check = re.search(r"RUN (case .*?esac)", text.replace("\\\n", " "), re.DOTALL)
    assert check is not None
    for model, licences, status in (
        ("demo", "Apache-2.0", 0),
        ("small", "Apache-2.0", 1),
        ("small", "Apache-2.0 AND CC-BY-NC-4.0", 0),
        ("my/own", "Apache-2.0", 1),
        ("my/own", "MIT", 0),
    ):
        environment = {"MODEL": model, "LICENSES": licences, "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            ["/bin/sh", "-c", check[1]], env=environment, capture_output=True, text=True
        )
        assert done.returncode == status, (model, licences)
        assert ("CC-BY-NC-4.0" in done.stderr) == bool(status)


def test_the_library_is_compiled_from_every_source() -> None:
    """A header that is missing here is not watched: an old library would stay in use."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    [library] = project["tool"]["setuptools"]["ext-modules"]
    folder = ROOT / "musicgen" / "model" / "native"
    for key, suffix in (("sources", "cpp"), ("depends", "h")):
        found = sorted(str(path.relative_to(ROOT)) for path in folder.glob(f"*.{suffix}"))
        assert sorted(library[key]) == found


def test_wheels_are_built_for_every_python_and_processor() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheels = project["tool"]["cibuildwheel"]
    assert wheels["build"] == [f"cp{python.replace('.', '')}-*" for python in PYTHONS]
    assert "has_native_step()" in wheels["test-command"][0]
    job = _read("wheels.yml")["jobs"]["wheels"]
    assert job["strategy"]["matrix"]["runner"] == ["ubuntu-24.04", "ubuntu-24.04-arm", "macos-15"]
    check = next(step["run"] for step in job["steps"] if "./check" in str(step.get("run")))
    [library] = project["tool"]["setuptools"]["ext-modules"]
    # The kernels are checked as they are compiled for a wheel.
    assert all(flag in check for flag in library["extra-compile-args"])
