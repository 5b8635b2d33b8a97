"""One number of threads for the native library and PyTorch, whichever comes first."""

from __future__ import annotations

import subprocess
import sys

import pytest

from musicgen.model.native.library import load_library
from tests.support import ROOT

BEGINNING = (
    "from musicgen.process.threads import use_threads; from musicgen.process import lazy_torch;"
)
ENDING = "import torch; print(torch.get_num_threads())"


@pytest.mark.parametrize(
    "script",
    [
        "use_threads(3); lazy_torch.import_torch()",
        "lazy_torch.import_torch(); use_threads(3)",
        "import torch; use_threads(1); use_threads(3)",
    ],
)
def test_torch_computes_with_the_threads_of_the_process(script: str) -> None:
    assert _run(f"{BEGINNING} {script}; {ENDING}") == "3"


@pytest.mark.skipif(load_library() is None, reason="the native step was not compiled here")
def test_the_native_library_has_them_without_torch() -> None:
    ending = (
        "from musicgen.model.native.library import load_library; import sys; "
        "print(load_library().threads, 'torch' in sys.modules)"
    )
    assert _run(f"{BEGINNING} use_threads(3); {ending}") == "3 False"


def _run(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
