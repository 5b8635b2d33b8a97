"""The package with its own dependencies alone, as an installation without extras leaves it.

A folder has links to the files of these dependencies. Python runs with it and without the packages
of the tests.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest
import soundfile
from packaging.requirements import Requirement

from musicgen.model.native.library import load_library
from tests.support import ROOT
from tests.support.packs import pack_folder

OWN = "musicgen-serverless"
Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]
pytestmark = pytest.mark.skipif(load_library() is None, reason="no native library here")


def _find_dependencies(name: str, *chosen: str) -> dict[str, Distribution]:
    """Return the distributions that `name` with the extras `chosen` brings, by their names."""
    found: dict[str, Distribution] = {}
    waiting = [(name, {*chosen, ""})]
    while waiting:
        name, extras = waiting.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in found:
            continue
        found[key] = distribution(name)
        for line in found[key].requires or []:
            needed = Requirement(line)
            marker = needed.marker
            if marker is None or any(marker.evaluate({"extra": each}) for each in extras):
                waiting.append((needed.name, {*needed.extras, ""}))
    return found


def _link(folder: Path, *extras: str) -> Path:
    """Fill a folder with links to the dependencies' files."""
    for name, found in _find_dependencies(OWN, *extras).items():
        # An editable installation of this project has hooks that find more than its files.
        names = {path.parts[0] for path in found.files or [] if name != OWN}
        names.add(Path(str(found._path)).name)  # type: ignore[attr-defined]
        for each in names - {"..", "__pycache__"}:
            target = Path(str(found.locate_file(each)))
            if target.exists() and not (folder / each).exists():
                (folder / each).symlink_to(target)
    return folder


def _start(packages: Path, folder: Path, *arguments: str | Path, **environment: str) -> Done:
    """Run Python in `folder` with these packages and this project alone."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MUSICGEN_")}
    paths = os.pathsep.join([str(packages), str(ROOT)])
    given = {"PYTHONPATH": paths, "MUSICGEN_DATA_DIR": str(folder / "data")}
    return subprocess.run(
        [sys._base_executable, "-S", *map(str, arguments)],  # type: ignore[attr-defined]
        env=kept | given | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def lean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of packages without any extra."""
    return _link(tmp_path_factory.mktemp("lean"))


@pytest.fixture
def run(lean: Path, tmp_path: Path) -> Run:
    """`run(*arguments, **environment)` runs Python in a lean installation."""
    return functools.partial(_start, lean, tmp_path)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_folder(Path("demo"), "native-int8", tmp_path_factory.mktemp("packed")).path


@pytest.mark.parametrize("extra", ["cpu", "cog", "runpod", "api", "s3"])
def test_no_dependency_brings_torch(extra: str) -> None:
    try:
        found = _find_dependencies(OWN, extra)
    except PackageNotFoundError as error:
        pytest.skip(f"{error} is not installed here")
    assert len(found) > 10
    assert not {"torch", "transformers", "scipy"} & set(found)


def test_torch_is_not_there(run: Run) -> None:
    """Otherwise the other tests say nothing."""
    script = "from importlib.util import find_spec; import numpy; print(find_spec('torch'))"
    assert run("-c", script).stdout == "None\n"


def test_a_packed_file_makes_a_clip(run: Run, file: Path, tmp_path: Path) -> None:
    done = run("-m", "handlers.cli", "generate", "bells", "--model", file, "--duration", "1",
               "-o", "clip.wav")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "clip.wav").stat().st_size > 32000


@pytest.mark.parametrize(
    ("arguments", "environment", "advice"),
    [
        (("generate", "bells", "--model", "demo"), {}, "musicgen pack"),
        (("generate", "bells", "--model", "demo"), {"MUSICGEN_ENGINE": "transformers"}, "pip inst"),
        (("generate", "bells", "--decoder", "multi_band_diffusion"), {}, "PyTorch"),
        (("pack", "demo"), {}, "pip install"),
        (("verify", "--model", "demo"), {}, "pip install"),
        (("evaluate", "--model", "demo"), {}, "pip install"),
    ],
)
def test_what_needs_torch_says_so_in_one_line(
    run: Run, file: Path, arguments: tuple[str, ...], environment: dict[str, str], advice: str
) -> None:
    model = {"MUSICGEN_MODEL": str(file)}
    done = run("-m", "handlers.cli", *arguments, **model, **environment)
    assert done.returncode not in (0, 1), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("musicgen: ") and advice in last, done.stderr


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        *(("keys create me", "api"), ("keys list", "api"), ("serve all", "api")),
        *(("serve model", "api"), ("backup b", "api"), ("restore a.wav", "api")),
        *(("mcp", "mcp"), ("generate bells --plot a.png", "plot"), ("midi a.wav", "midi")),
        *(("stems a.wav", "demucs"), ("credentials new c", "credentials")),
        ("inspect --require a.wav", "credentials"),
    ],
)
def test_a_command_names_the_extra_that_it_needs(
    run: Run, tmp_path: Path, command: str, extra: str
) -> None:
    """Guards the traceback of `keys` in an installation by `make demo`."""
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 8000)
    done = run("-m", "handlers.cli", *command.split())
    assert done.returncode == 78 and "Traceback" not in done.stderr, done.stderr
    assert f"pip install -e '.[{extra}]'" in done.stderr.splitlines()[-1]


def test_an_installed_wheel_names_its_package(lean: Path, tmp_path: Path) -> None:
    """Guards advice to install a folder that whoever has a wheel alone does not have."""
    site = tmp_path / "site"
    site.mkdir()
    for package in ("musicgen", "handlers"):
        (site / package).symlink_to(ROOT / package)
    paths = os.pathsep.join([str(lean), str(site)])
    done = _start(lean, tmp_path, "-m", "handlers.cli", "mcp", PYTHONPATH=paths)
    assert done.returncode == 78, done.stderr
    assert done.stderr.splitlines()[-1].endswith(
        "Run pip install 'WHEEL[mcp]' with the path of the project's wheel."
    )


def test_doctor_blames_nothing_else_for_a_missing_extra(run: Run, file: Path) -> None:
    done = run("-m", "handlers.cli", "doctor", MUSICGEN_MODEL=str(file))
    errors = [line for line in done.stdout.splitlines() if line.startswith("error")]
    assert len(errors) == 1 and "pip install -e '.[api]'" in errors[0], done.stdout


def test_the_endpoint_of_an_unpacked_model_says_so(run: Run) -> None:
    """An entry point that loads the model itself ends with the same line."""
    done = run("-c", "import handler; handler.EndpointHandler('')", MUSICGEN_MODEL="demo")
    assert "musicgen pack" in done.stderr.splitlines()[-1]


def test_the_endpoint_of_a_packed_file_answers(run: Run, file: Path) -> None:
    script = (
        "import handler\n"
        "endpoint = handler.EndpointHandler('')\n"
        "answer = endpoint({'inputs': 'piano', 'parameters': {'duration': 0.2}})\n"
        "print(str(answer)[:200])\n"
    )
    done = run("-c", script, MUSICGEN_MODEL=str(file))
    assert done.returncode == 0 and "audio" in done.stdout, done.stdout + done.stderr


def test_the_checks_of_a_wheel_pass_with_what_they_install(tmp_path: Path) -> None:
    """cibuildwheel installs a wheel with `test-extras` alone before it runs `test-command`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheels = project["tool"]["cibuildwheel"]
    packages, folder = tmp_path / "packages", tmp_path / "test"
    packages.mkdir()
    folder.mkdir()
    _link(packages, *wheels["test-extras"])
    for command in wheels["test-command"]:
        program, *arguments = shlex.split(command)
        start = {"python": [], "musicgen": ["-m", "handlers.cli"]}[program]
        done = _start(packages, folder, *start, *arguments)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert {path.name for path in folder.glob("*.wav")} == {"int8.wav", "float32.wav"}
