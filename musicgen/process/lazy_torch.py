"""PyTorch for a start on a processor, without what only its compiler asks for.

A quarter of the processor time of `import torch` goes into one module, which says in Python what
operators do to tensors that hold no data. Compiling, exporting and fake tensors need it, making
music does not. It is put off until somebody imports it, or torch's compiler.

This leans on names that are torch's own affair. So it is done for versions that it was tried with
and where no GPU is; everywhere else torch is imported as a whole.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

SUPPORTED = ("2.13",)
"""Versions of torch, without what follows the second number."""
DEFERRED = "torch._meta_registrations"
COMPILER = "torch._dynamo"
DRIVER = Path("/proc/driver/nvidia")


class _DeferredImport(MetaPathFinder):
    """Imports what was put off before the compiler is imported."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname == COMPILER:
            sys.meta_path.remove(self)
            importlib.import_module(DEFERRED)
        return None


def import_torch() -> bool:
    """Whether a part of it was put off. Raises: what importing torch raises."""
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
        # The one thing that the rest needs of it: without this there are no random generators.
        opaque = importlib.import_module("torch._opaque_base").OpaqueBaseMeta
        torch._C._set_generator_metaclass(opaque)
    except (ImportError, AttributeError):
        importlib.import_module(DEFERRED)
        return False
    sys.meta_path.insert(0, _DeferredImport())
    return True


def is_supported(version: str) -> bool:
    return ".".join(version.split(".")[:2]) in SUPPORTED


def _version() -> str:
    """Of the installed torch, which is not imported for it; empty if there is none."""
    found = find_spec("torch")
    if found is None or found.origin is None:
        return ""
    text = Path(found.origin).with_name("version.py").read_text(encoding="utf-8")
    match = re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE)
    return match[1] if match else ""
