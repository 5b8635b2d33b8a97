"""Start of a worker: weights are read during Python's imports, and every phase is timed.

A root file calls `begin()` before its other imports. A child process then reads the weights into
the system's page cache. A thread in this process would compete with the imports for the
interpreter. Times are seconds since the kernel started the process, so they include the start of
the interpreter.

This module runs before all others and therefore imports little.
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

logger = logging.getLogger(__name__)

READ_FILE = """
import os, sys
piece = bytearray(8 << 20)
for path in sys.argv[1:]:
    file = os.open(path, os.O_RDONLY)
    while os.readv(file, [piece]):
        pass
"""
"""Script for a bare interpreter, started in ten milliseconds."""
FETCH = "from musicgen.checkpoints.download import main; main()"
_WEIGHTS = ("*.safetensors", "*.bin")
_RESIDENT_ENOUGH = 0.95
_SAMPLE_BYTES, _SAMPLE_EVERY = 2**20, 2**24
"""Residence is asked of the first bytes of each stretch: of all pages it takes 15 ms."""
_GC_THRESHOLDS = gc.get_threshold()
_GC_THRESHOLD_AT_START = 100_000

_BEGIN = "interpreter"
_marks: dict[str, float] = {}
_children: list[subprocess.Popen[bytes]] = []
_reported = False


def process_age() -> float:
    """Return the seconds since this process started; without /proc, its processor time."""
    try:
        stat = Path("/proc/self/stat").read_bytes()
        # The program's name may contain spaces and brackets, so fields count from the last one.
        started = int(stat[stat.rindex(b")") + 2 :].split()[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except (OSError, ValueError, AttributeError):
        return time.process_time()


def mark(phase: str) -> None:
    """Record the end of `phase`; only the first call counts."""
    _marks.setdefault(phase, process_age())


def timeline() -> Mapping[str, float]:
    """Return the seconds from the process's start to the end of each phase, in order."""
    return dict(sorted(_marks.items(), key=lambda mark: mark[1]))


def begin(folder: Path | None = None) -> subprocess.Popen[bytes] | None:
    """Start reading the weights of MUSICGEN_MODEL, or else of `folder`.

    Returns the reading process. Never raises: errors of the settings appear at their first use.
    Garbage collection is rare until `ready()`, because a start makes little garbage.
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
    return child


def prefetch(model: str) -> subprocess.Popen[bytes] | None:
    """Read the files of `model` in a child process, which downloads them if `model` is a URL.

    Returns None with nothing to read.
    """
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
    """Return the files read by loading `path`, a packed file or a folder."""
    if path.is_file():
        return [path]
    packed = find_packed_files(path) if path.is_dir() else []
    if packed:
        # Of several only one is loaded, chosen later by the device.
        return packed if len(packed) == 1 else []
    return next((files for p in _WEIGHTS if (files := sorted(path.glob(p)))), [])


def resident_share(path: Path) -> float:
    """Return the share of a file in the page cache by samples, 0 to 1; 0 if unknown."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            mapped = mmap.mmap(file.fileno(), size, flags=mmap.MAP_PRIVATE)
        with mapped:
            view = (ctypes.c_char * size).from_buffer(mapped)
            start = ctypes.addressof(view)
            samples = [
                _list_resident(start + at, size - at) for at in range(0, size, _SAMPLE_EVERY)
            ]
            del view
            pages = b"".join(samples)
            return pages.count(1) / len(pages)
    except (OSError, ValueError, AttributeError, TypeError):
        return 0.0


def _list_resident(address: int, most: int) -> bytes:
    """Return a byte for each page of a sample: 1 if it is in memory. Raises: OSError."""
    length = min(_SAMPLE_BYTES, most)
    pages = (ctypes.c_ubyte * -(-length // mmap.PAGESIZE))()
    if ctypes.CDLL(None).mincore(ctypes.c_void_p(address), ctypes.c_size_t(length), pages):
        raise OSError("mincore failed")
    return bytes(pages)


def ready() -> None:
    """Mark the worker as ready for requests and restore the garbage collector.

    Objects of the start are frozen: later collections skip them.
    """
    mark("ready")
    for child in _children:
        child.poll()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    logger.info("worker ready: %s", _format_timeline())


def first_audio() -> Mapping[str, float] | None:
    """Return the start's timeline for the first finished request, None for all later ones.

    Also None without `begin`.
    """
    global _reported
    if _reported or _BEGIN not in _marks:
        return None
    _reported = True
    mark("first_audio")
    logger.info("first audio: %s", _format_timeline())
    return timeline()


def _format_timeline() -> str:
    return ", ".join(f"{phase} {seconds:.2f} s" for phase, seconds in timeline().items())
