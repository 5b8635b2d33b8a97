"""Weights that move to huge pages after the start: engines that end or lose their file."""

from __future__ import annotations

import gc
import mmap
import os
import shutil
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.interface import GenerationJob, Row, run_to_end
from musicgen.engine.loading import load_engine
from musicgen.engine.native import loading
from musicgen.engine.native.backend import NativeBackend
from musicgen.model.native import generation
from musicgen.model.native.huge_pages import has_huge_pages
from musicgen.model.native.library import load_library
from musicgen.model.native.product import NativeProduct
from musicgen.request import SamplingParams
from musicgen.settings import Settings
from tests.support.packs import pack_folder

pytestmark = [
    pytest.mark.skipif(load_library() is None, reason="no native library here"),
    pytest.mark.skipif(not has_huge_pages(), reason="no huge pages here"),
]
LIMIT = 60.0
JOB = GenerationJob((Row("slow calm piano", 5, SamplingParams(1.0, 20, 0.0, 3.0)),), 20)
Moves = list[str]


@pytest.fixture(scope="module")
def file(checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    return pack_folder(checkpoints("musicgen-small"), "native-int8", folder).path


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> Moves:
    """Move even small weights, at once; the list receives the name of each that has moved."""
    moved: Moves = []
    move = NativeProduct.move

    def record(product: NativeProduct, memory: NDArray[np.uint8]) -> None:
        move(product, memory)
        moved.append(product.name)

    monkeypatch.setattr(generation, "LEAST_MOVED", 1)
    monkeypatch.setattr(loading, "_MOVE_AFTER_S", 0.0)
    monkeypatch.setattr(NativeProduct, "move", record)
    return moved


def _load(file: Path) -> MusicGenEngine:
    engine = load_engine(file, "toy", Settings(device="cpu"))
    assert isinstance(engine, MusicGenEngine)
    return engine


def _generate(engine: MusicGenEngine) -> bytes:
    output = run_to_end(engine.generate(JOB))
    return output.codes.tobytes() + output.pcm[0].tobytes()


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def _count_products(engine: MusicGenEngine) -> int:
    assert isinstance(engine.backend, NativeBackend)
    kept = engine.backend._decoder._kept
    keys = engine.backend._decoder._key_values
    return sum(isinstance(each, NativeProduct) and each not in keys for each in kept)


def test_an_engine_moves_its_weights_by_itself(file: Path, moves: Moves) -> None:
    engine = _load(file)
    _wait(lambda: len(moves) == _count_products(engine))
    assert len(set(moves)) == len(moves) > 1


def test_a_dropped_engine_is_freed_before_its_move(
    file: Path, moves: Moves, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that changes its model at once must not hold two models."""
    asleep, awake = threading.Event(), threading.Event()

    def sleep(_: float) -> None:
        asleep.set()
        awake.wait(LIMIT)

    monkeypatch.setattr(loading, "time", SimpleNamespace(sleep=sleep))
    threads = threading.active_count()
    engine = _load(file)
    _generate(engine)
    backend = weakref.ref(engine.backend)
    assert asleep.wait(LIMIT)
    engine.close()
    del engine
    gc.collect()
    assert backend() is None
    awake.set()
    _wait(lambda: threading.active_count() <= threads)
    assert moves == []


def test_a_dropped_engine_stops_its_move(
    file: Path, moves: Moves, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, goes_on = threading.Event(), threading.Event()
    move = NativeProduct.move

    def stop_at_the_second(product: NativeProduct, memory: NDArray[np.uint8]) -> None:
        if moves:
            reached.set()
            goes_on.wait(LIMIT)
        move(product, memory)

    monkeypatch.setattr(NativeProduct, "move", stop_at_the_second)
    threads = threading.active_count()
    engine = _load(file)
    backend = weakref.ref(engine.backend)
    assert reached.wait(LIMIT)
    engine.close()
    del engine
    gc.collect()
    assert backend() is None
    goes_on.set()
    # A thread of an earlier test may end meanwhile, so their number alone says too little.
    _wait(lambda: len(moves) == 2)
    _wait(lambda: threading.active_count() <= threads)
    assert len(moves) == 2


def test_two_engines_move_while_both_generate(file: Path, moves: Moves) -> None:
    other = _load(file)
    expected = _generate(other)
    _wait(lambda: len(moves) == _count_products(other))
    moves.clear()
    engines = [_load(file), _load(file)]
    found = [_generate(engine) for _ in range(5) for engine in engines]
    _wait(lambda: len(moves) == 2 * _count_products(engines[0]))
    found += [_generate(engine) for engine in engines]
    del engines[0]
    gc.collect()
    found.append(_generate(engines[0]))
    assert all(each == expected for each in found)


def test_an_engine_without_a_thread_for_the_move_works(
    file: Path, moves: Moves, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system at its limit of threads refuses one more."""
    expected = _generate(_load(file))
    _wait(lambda: bool(moves))
    # Its thread may be at another weight still.
    _wait(lambda: loading.MOVE_THREAD not in {thread.name for thread in threading.enumerate()})
    moves.clear()
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if getattr(thread, "_target", None) is loading._move_weights:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert _generate(_load(file)) == expected
    assert moves == []


@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_another_file_in_its_place_changes_nothing(
    file: Path, moves: Moves, tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`musicgen pack` renames the new file over the old one. Released memory is the old file's."""
    awake = threading.Event()
    monkeypatch.setattr(loading, "time", SimpleNamespace(sleep=lambda _: awake.wait(LIMIT)))
    path = tmp_path / "model.packed"
    shutil.copyfile(file, path)
    engine = _load(path)
    expected = _generate(engine)
    if change == "replaced":
        other = tmp_path / "other"
        other.write_bytes(bytes(path.stat().st_size))
        other.replace(path)
    else:
        path.unlink()
    awake.set()
    _wait(lambda: not any(t.name == loading.MOVE_THREAD for t in threading.enumerate()))
    assert len(moves) == _count_products(engine)
    assert _generate(engine) == expected
    assert isinstance(engine.backend, NativeBackend)
    # The former weights stay mapped, for a step that was underway.
    for product in engine.backend._decoder._kept:
        if isinstance(product, NativeProduct) and product._former:
            former, now = product._former[0]["weight"], product._parts["weight"]
            assert former.tobytes() == now.tobytes()


def test_a_file_that_cannot_be_written_is_served(file: Path, moves: Moves, tmp_path: Path) -> None:
    """The memory is mapped as private: an image's files are read-only."""
    path = tmp_path / "model.packed"
    shutil.copyfile(file, path)
    expected = path.read_bytes()
    path.chmod(0o444)
    engine = _load(path)
    _wait(lambda: len(moves) == _count_products(engine))
    _generate(engine)
    assert path.read_bytes() == expected
    mapped = [
        line for line in Path("/proc/self/maps").read_text().splitlines() if str(path) in line
    ]
    assert mapped and all("p " in line for line in mapped)


def test_released_weights_leave_the_memory(file: Path, moves: Moves, tmp_path: Path) -> None:
    """After the move each weight is held once: in huge pages, and not of the file."""
    path = tmp_path / "model.packed"
    shutil.copyfile(file, path)
    engine = _load(path)
    _wait(lambda: not any(t.name == loading.MOVE_THREAD for t in threading.enumerate()))
    assert isinstance(engine.backend, NativeBackend)
    former = [
        array
        for product in engine.backend._decoder._kept
        if isinstance(product, NativeProduct)
        for parts in product._former
        for array in (parts["weight"],)
        if array.nbytes >= 2 * mmap.PAGESIZE
    ]
    assert former
    pagemap = os.open("/proc/self/pagemap", os.O_RDONLY)
    try:
        for array in former:
            first = -(-array.ctypes.data // mmap.PAGESIZE)
            count = (array.ctypes.data + array.nbytes) // mmap.PAGESIZE - first
            entries = np.frombuffer(os.pread(pagemap, 8 * count, 8 * first), np.uint64)
            assert not (entries >> np.uint64(63)).any()
    finally:
        os.close(pagemap)
