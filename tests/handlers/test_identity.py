"""Another project's package `musicgen` beside this one, or in its place, is named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from handlers.identity import list_namesakes
from musicgen import __version__

ROOT = Path(__file__).parents[2]
MISCONFIGURED = 78


def _install_namesake(
    site: Path, *, has_package: bool = True, has_record_only: bool = False
) -> None:
    """Write what pip writes for a wheel of musicgen-minimal."""
    info = site / "musicgen_minimal-1.1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: musicgen-minimal\nVersion: 1.1.2\n"
    )
    if has_record_only:
        (info / "RECORD").write_text(
            "musicgen/__init__.py,sha256=x,5\nmusicgen/cli.py,sha256=x,5\n"
        )
    else:
        (info / "top_level.txt").write_text("musicgen\n")
    if has_package:
        (site / "musicgen").mkdir()
        (site / "musicgen" / "__init__.py").write_text('import torch\n__version__ = "1.1.2"\n')


def _run(site: Path, *arguments: str, is_first: bool) -> subprocess.CompletedProcess[str]:
    path = [str(site), str(ROOT)] if is_first else [str(ROOT), str(site)]
    return subprocess.run(
        [sys.executable, "-m", "handlers.cli", *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
        cwd=site,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", [["--version"], ["doctor"], ["models"]])
def test_a_package_of_another_project_is_not_run(tmp_path: Path, command: list[str]) -> None:
    _install_namesake(tmp_path)
    done = _run(tmp_path, *command, is_first=True)
    assert (done.returncode, done.stdout) == (MISCONFIGURED, "")
    assert done.stderr.count("\n") == 1
    assert "is not musicgen-serverless, but musicgen-minimal 1.1.2" in done.stderr
    assert "pip uninstall" in done.stderr


def test_a_package_without_its_first_file_is_named(tmp_path: Path) -> None:
    """Uninstalling the other project removes the shared __init__.py."""
    (tmp_path / "musicgen").mkdir()
    (tmp_path / "handlers").symlink_to(ROOT / "handlers")
    code = "import sys; from handlers.cli.entry import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == MISCONFIGURED
    assert "has no __init__.py" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("has_record_only", [False, True])
def test_another_project_beside_this_one_is_a_warning(
    tmp_path: Path, has_record_only: bool
) -> None:
    _install_namesake(tmp_path, has_package=False, has_record_only=has_record_only)
    done = _run(tmp_path, "--version", is_first=False)
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")
    assert "musicgen-minimal 1.1.2 installs a package musicgen" in done.stderr
    found = _run(tmp_path, "doctor", "worker", is_first=False)
    line = next(line for line in found.stdout.splitlines() if " names " in line)
    assert line.startswith("warning") and "musicgen-minimal 1.1.2" in line


def test_this_project_alone_is_no_warning(tmp_path: Path) -> None:
    assert list_namesakes() == []
    done = _run(tmp_path, "--version", is_first=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{__version__}\n", "")
