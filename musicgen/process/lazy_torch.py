"""Faster import of PyTorch on a processor, without a module needed only by its compiler.

A quarter of the processor time of `import torch` goes into one module: the Python versions of its
operators for tensors without data. Compiling, exporting and fake tensors need it; generation does
not. Its import is deferred until it, torch's compiler or a module that depends on it is imported;
transformers' MusicGen imports such a one.

This relies on internal names of torch. It is done only for tested versions and without a GPU;
otherwise torch is imported completely.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from musicgen.errors import MissingDependency
from musicgen.process import startup
from musicgen.process.threads import limit_torch

SUPPORTED = ("2.13",)
"""Tested versions of torch, as MAJOR.MINOR."""
DEFERRED = "torch._meta_registrations"
GATEWAYS = (
    *("torch._dynamo", "torch._decomp", "torch._prims", "torch._prims_common.wrappers"),
    *("torch._refs", "torch.utils._content_store"),
)
"""Modules that need the deferred one first: the compiler, and those in a circle with it."""
DRIVER = Path("/proc/driver/nvidia")
UNPACKED = "a model other than a packed native file"
WITHOUT_TORCH = "Or run `musicgen pack` where torch is installed, and load the packed file here."


class _DeferredImport:
    """Import hook for the deferred module, run before a module of `GATEWAYS` is imported.

    It has no base class, because `importlib.abc` would cost every worker its import.
    """

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Import the deferred module if a gateway is about to be imported.

        Returns None, or the loaded gateway if the deferred module has imported it.
        """
        if fullname not in GATEWAYS:
            return None
        sys.meta_path.remove(self)
        importlib.import_module(DEFERRED)
        # Left there, the import would take the module's own spec and run it again.
        loaded = sys.modules.pop(fullname, None)
        return None if loaded is None else ModuleSpec(fullname, _LoadedModule(loaded))  # type: ignore[arg-type]


class _LoadedModule:
    """Loader of a module that is in memory, which runs it no second time."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, _: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        """Put the module's own spec back, which the import has replaced."""
        module.__spec__ = self._spec


def import_torch(purpose: str = UNPACKED) -> bool:
    """Import torch for `purpose`, and return whether a part of it is deferred.

    torch computes with the threads of `musicgen.process.threads.use_threads`.
    Raises: `MissingDependency` if torch is not installed.
    """
    if find_spec("torch") is None:
        otherwise = WITHOUT_TORCH if purpose == UNPACKED else ""
        raise MissingDependency("torch", purpose, "torch", otherwise)
    is_deferred = _import_torch()
    limit_torch()
    startup.mark("torch_imported")
    return is_deferred


def _import_torch() -> bool:
    if "torch" in sys.modules or DRIVER.exists() or not is_supported(_version()):
        importlib.import_module("torch")
        return False
    sys.modules[DEFERRED] = ModuleType(DEFERRED)
    try:
        torch = importlib.import_module("torch")
    finally:
        del sys.modules[DEFERRED]
    torch.__dict__.pop(DEFERRED.rpartition(".")[2], None)
    try:
        # The only part needed elsewhere: without it torch has no random generators.
        opaque = importlib.import_module("torch._opaque_base").OpaqueBaseMeta
        torch._C._set_generator_metaclass(opaque)
    except (ImportError, AttributeError):
        importlib.import_module(DEFERRED)
        return False
    sys.meta_path.insert(0, _DeferredImport())
    return True


def is_supported(version: str) -> bool:
    """Return whether the deferred import was tested with this version of torch."""
    return ".".join(version.split(".")[:2]) in SUPPORTED


def _version() -> str:
    """Return the version of the installed torch without importing it; empty without torch."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return ""
    text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    match = re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE)
    return match[1] if match else ""
