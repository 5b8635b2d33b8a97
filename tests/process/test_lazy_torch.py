"""torch without what its compiler asks for: the same music, and all of it when it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from musicgen.process import lazy_torch
from tests.support import ROOT

PRECISIONS = ("int8", "bfloat16", "float32")
CLIPS = """
import sys
from pathlib import Path
from musicgen.process import lazy_torch
out, precisions = sys.argv[1], sys.argv[3:]
if sys.argv[2] == "whole":
    lazy_torch.SUPPORTED = ()
print(lazy_torch.import_torch(), lazy_torch.DEFERRED in sys.modules)
from musicgen.predictor import Predictor
from musicgen.request import GenerationRequest
from musicgen.settings import Settings
for precision in precisions:
    settings = Settings(model="demo", precision=precision, threads=2, data_dir=Path(out))
    result = Predictor.load(settings).generate(
        GenerationRequest(prompt="calm piano", duration=0.5, seed=3, variations=2, top_p=0.9)
    )
    print(*(clip.sha256 for clip in result.clips), lazy_torch.DEFERRED in sys.modules)
"""
needs_the_quick_way = pytest.mark.skipif(
    lazy_torch.DRIVER.exists() or not lazy_torch.is_supported(lazy_torch._version()),
    reason="torch is imported as a whole here",
)


def _run(script: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What a process says that imports torch the quick way, and one that imports all of it."""
    return {
        way: _run(CLIPS, str(tmp_path_factory.mktemp(way)), way, *PRECISIONS)
        for way in ("quick", "whole")
    }


@needs_the_quick_way
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_same_music_with_and_without(clips: dict[str, list[str]], precision: str) -> None:
    assert (clips["quick"][0], clips["whole"][0]) == ("True False", "False True")
    line = 1 + PRECISIONS.index(precision)
    *hashes, put_off = clips["quick"][line].split()
    assert hashes == clips["whole"][line].split()[:-1] and len(set(hashes)) == 2
    assert put_off == "False", "making music must not bring it back"


@needs_the_quick_way
def test_the_compiler_finds_all_that_it_needs() -> None:
    """Guards a torch that is left crippled for whoever compiles or exports later."""
    script = """
import sys
from musicgen.process import lazy_torch
assert lazy_torch.import_torch()
import torch
generator = torch.Generator().manual_seed(3)
first = torch.rand(4, generator=generator)
compiled = torch.compile(lambda x: x.sin() + x.cos(), backend="aot_eager")
print(torch.equal(compiled(first), first.sin() + first.cos()))
print(lazy_torch.DEFERRED in sys.modules, hasattr(torch, "_meta_registrations"))
print(torch.equal(first, torch.rand(4, generator=torch.Generator().manual_seed(3))))
exported = torch.export.export(torch.nn.Linear(2, 3), (torch.ones(1, 2),))
print(exported.module()(torch.ones(1, 2)).shape == (1, 3))
"""
    assert _run(script) == ["True", "True True", "True", "True"]


@needs_the_quick_way
@pytest.mark.parametrize("module", [*lazy_torch.GATEWAYS, "torch.distributed.tensor"])
def test_each_module_that_needs_the_deferred_one_is_imported_whole(module: str) -> None:
    """Guards a circle of imports: transformers' MusicGen could not be imported after it."""
    script = f"""
import importlib, sys
from musicgen.process import lazy_torch
assert lazy_torch.import_torch()
found = importlib.import_module("{module}")
print(lazy_torch.DEFERRED in sys.modules, found.__spec__.origin == found.__file__)
import torch._decomp, torch._refs
print(len(torch._decomp.decomposition_table) > 100, torch._refs.linalg.__name__)
"""
    assert _run(script) == ["True True", "True torch._refs.linalg"]


@needs_the_quick_way
def test_a_torch_without_the_expected_names_is_imported_as_a_whole() -> None:
    script = """
import sys, types
from musicgen.process import lazy_torch
found = lazy_torch.importlib.import_module
def other(name):
    if name == "torch._opaque_base":
        return types.ModuleType(name)
    return found(name)
lazy_torch.importlib.import_module = other
print(lazy_torch.import_torch(), lazy_torch.DEFERRED in sys.modules)
import torch
torch.Generator().manual_seed(1)
"""
    assert _run(script) == ["False True"]


@pytest.mark.parametrize(
    ("version", "tried"),
    [("2.13.0+cpu", True), ("2.13.1", True), ("2.12.0", False), ("2.130.0", False), ("", False)],
)
def test_only_versions_that_were_tried_are_imported_quickly(version: str, tried: bool) -> None:
    assert lazy_torch.is_supported(version) == tried


def test_a_missing_torch_is_named_in_one_line() -> None:
    script = """
import sys
sys.modules["torch"] = None
from handlers.cli.main import main
from musicgen.errors import MissingDependency
from musicgen.process.lazy_torch import import_torch
try:
    import_torch()
except MissingDependency as error:
    print(error)
sys.stderr = sys.stdout
print(main(["pack", "demo"]))
"""
    named = "needs the package torch, and it is not installed. Run pip install -e '.[torch]' in the"
    unpacked, pack, status = _run(script)
    assert unpacked == (
        f"a model other than a packed native file {named} project's folder. "
        "Or run `musicgen pack` where torch is installed, and load the packed file here."
    )
    assert pack == f"musicgen: musicgen pack {named} project's folder."
    assert status == "78"
