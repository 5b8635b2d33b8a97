"""The native library under the sanitizers of GCC and before pages that cannot be read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from musicgen.model.native.step_file import find_step_file
from tests.support import ROOT

FOLDER = ROOT / "musicgen/model/native"
SANITIZERS = {"address,undefined": "libasan.so", "thread": "libtsan.so"}
DRIVER = ("-m", "tests.support.native_driver")
LIMIT = 900.0

# One mistake of each kind, called by ctypes.
MISTAKES = """
#include <thread>
extern "C" int beyond(int count) {
    int* volatile x = new int[count];
    int y = x[count];
    delete[] x;
    return y;
}
extern "C" int overflow(int count) { return 0x7fffffff + count; }
extern "C" int race(int count) {
    int x = 0;
    auto add = [&] { for (int i = 0; i < count; ++i) ++x; };
    std::thread other(add);
    add();
    other.join();
    return x;
}
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_step_file() is None, reason="the native step was not compiled here"),
]


def _find_runtime(sanitizer: str) -> str:
    """Return the path of a sanitizer's library; skip the test where there is none."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    name = SANITIZERS[sanitizer]
    path = subprocess.check_output(["g++", f"-print-file-name={name}"], text=True).strip()
    if not Path(path).is_absolute():
        pytest.skip(f"needs GCC's {name}")
    return path


def _compile(sources: list[Path], sanitizer: str, out: Path) -> None:
    """Compile as pyproject.toml does, with a sanitizer and its line numbers."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    flags = project["tool"]["setuptools"]["ext-modules"][0]["extra-compile-args"]
    checks = [f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]
    command = ["g++", *flags, "-O1", "-g", *checks, "-fPIC", "-shared", *map(str, sources)]
    subprocess.run([*command, "-o", str(out)], check=True, timeout=LIMIT)


def _run(sanitizer: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Python with a sanitizer loaded before it. Leaks of Python itself do not count."""
    options = {
        "LD_PRELOAD": _find_runtime(sanitizer),
        "ASAN_OPTIONS": "detect_leaks=0",
        "TSAN_OPTIONS": "halt_on_error=1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    return _start(options, *arguments)


def _start(options: dict[str, str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=os.environ | options,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`builds(sanitizer)`: the library with a sanitizer."""

    def build(sanitizer: str) -> Path:
        _find_runtime(sanitizer)
        out = tmp_path_factory.mktemp("build") / "step.so"
        _compile(sorted(FOLDER.glob("*.cpp")), sanitizer, out)
        return out

    return build


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_a_sanitizer_finds_nothing(builds: Callable[[str], Path], sanitizer: str) -> None:
    done = _run(sanitizer, *DRIVER, builds(sanitizer))
    assert done.returncode == 0 and done.stdout.endswith("clean\n"), done.stderr[-5000:]


@pytest.mark.parametrize(
    ("sanitizer", "mistake", "report"),
    [
        ("address,undefined", "beyond", "heap-buffer-overflow"),
        ("address,undefined", "overflow", "signed integer overflow"),
        ("thread", "race", "data race"),
    ],
)
def test_a_sanitizer_finds_a_mistake(
    tmp_path: Path, sanitizer: str, mistake: str, report: str
) -> None:
    """Otherwise the silence of a sanitizer says nothing."""
    source, out = tmp_path / "mistakes.cpp", tmp_path / "mistakes.so"
    source.write_text(MISTAKES)
    _compile([source], sanitizer, out)
    done = _run(sanitizer, "-c", f"import ctypes; ctypes.CDLL({str(out)!r}).{mistake}(100)")
    assert done.returncode != 0 and report in done.stderr


def test_no_access_beyond_an_array_as_released() -> None:
    """Covers what no sanitizer sees: masked loads, and the optimized code itself."""
    step = find_step_file()
    assert step is not None
    done = _start({}, *DRIVER, step, "--guarded", "--cases", "100")
    assert done.returncode == 0 and done.stdout == "clean\n", done.stderr[-5000:]
