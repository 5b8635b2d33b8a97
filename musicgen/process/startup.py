"""The start of a worker: weights are read while Python imports, and every phase is marked.

A root file calls `begin()` before its other imports. That starts a process which reads the weights
into the system's page cache, so that they are there when PyTorch is; in this process a thread would
compete with the imports for the interpreter. Phases are seconds since the process was started, as
the kernel knows it, so the interpreter's own start is in them.

Imports next to nothing before that: it runs before everything else.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from musicgen.checkpoints.address import is_address
from musicgen.checkpoints.packed.format import find_packed_files
from musicgen.process import lazy_torch

logger = logging.getLogger(__name__)

READ_FILE = """
import os, sys
piece = bytearray(8 << 20)
for path in sys.argv[1:]:
    file = os.open(path, os.O_RDONLY)
    while os.readv(file, [piece]):
        pass
"""
"""Run by a bare interpreter, which starts in ten milliseconds."""
FETCH = "from musicgen.checkpoints.download import main; main()"
_WEIGHTS = ("*.safetensors", "*.bin")
_RESIDENT_ENOUGH = 0.95
_GC_THRESHOLDS = gc.get_threshold()
_GC_THRESHOLD_AT_START = 100_000

_BEGIN = "interpreter"
_marks: dict[str, float] = {}
_children: list[subprocess.Popen[bytes]] = []
_reported = False


def process_age() -> float:
    """Seconds since this process was started; without /proc, those that it has computed."""
    try:
        stat = Path("/proc/self/stat").read_bytes()
        # The name of the program may hold spaces and brackets; fields are counted after the last.
        started = int(stat[stat.rindex(b")") + 2 :].split()[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except (OSError, ValueError, AttributeError):
        return time.process_time()


def mark(phase: str) -> None:
    """Notes that `phase` has ended. Only its first end counts."""
    _marks.setdefault(phase, process_age())


def timeline() -> Mapping[str, float]:
    """Seconds from the process's start to the end of each phase so far, in their order."""
    return dict(sorted(_marks.items(), key=lambda each: each[1]))


def begin(folder: Path | None = None) -> subprocess.Popen[bytes] | None:
    """Starts to read the weights of MUSICGEN_MODEL, or else those in `folder`, and imports torch,
    the part of it that a start needs.

    Never raises: what is wrong with the settings or with torch is said where it is used. Until
    `ready()` garbage is looked for seldom: a start makes next to none.
    """
    mark(_BEGIN)
    gc.set_threshold(_GC_THRESHOLD_AT_START)
    child = None
    with contextlib.suppress(Exception):
        from musicgen.settings import DEFAULT_MODEL, Settings

        default = str(folder) if folder else DEFAULT_MODEL
        child = prefetch(Settings.from_env(default_model=default).model)
        if child is not None:
            _children.append(child)
        mark("prefetch_started")
    with contextlib.suppress(Exception):
        lazy_torch.import_torch()
    return child


def prefetch(model: str) -> subprocess.Popen[bytes] | None:
    """Reads the local files of `model` in a process of its own, or downloads them if it is an
    address; None when there is nothing to read."""
    if is_address(model):
        command = ["-c", FETCH]
    else:
        files = [
            str(file)
            for file in find_weights(Path(model))
            if resident_share(file) < _RESIDENT_ENOUGH
        ]
        if not files:
            return None
        command = ["-I", "-S", "-c", READ_FILE, *files]
    null = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, *command], stdin=null, stdout=null, stderr=null)


def find_weights(path: Path) -> Sequence[Path]:
    """The files that loading `path`, a packed file or a folder, will read."""
    if path.is_file():
        return [path]
    packed = find_packed_files(path) if path.is_dir() else []
    if packed:
        # Of several only one is loaded, and which one the device decides.
        return packed if len(packed) == 1 else []
    return next((found for p in _WEIGHTS if (found := sorted(path.glob(p)))), [])


def resident_share(path: Path) -> float:
    """The share of a file that is in memory; 0 where the system does not tell."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            mapped = mmap.mmap(file.fileno(), size, flags=mmap.MAP_PRIVATE)
        with mapped:
            pages = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
            view = (ctypes.c_char * size).from_buffer(mapped)
            failed = ctypes.CDLL(None).mincore(
                ctypes.c_void_p(ctypes.addressof(view)), ctypes.c_size_t(size), pages
            )
            del view
            return 0.0 if failed else bytes(pages).count(1) / len(pages)
    except (OSError, ValueError, AttributeError, TypeError):
        return 0.0


def ready() -> None:
    """The worker takes requests from now on: what the start made is never looked at again by the
    garbage collector, which begins its work."""
    mark("ready")
    for child in _children:
        child.poll()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    logger.info("started: %s", _format_timeline())


def first_audio() -> Mapping[str, float] | None:
    """The timeline of a start that `begin` began, told once: to the first request that has its
    sound."""
    global _reported
    if _reported or _BEGIN not in _marks:
        return None
    _reported = True
    mark("first_audio")
    logger.info("first audio: %s", _format_timeline())
    return timeline()


def _format_timeline() -> str:
    return ", ".join(f"{phase} {seconds:.2f} s" for phase, seconds in timeline().items())
