"""Weights in huge pages: the same tokens, before a move, during one and after it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from musicgen.checkpoints.packed.reader import PackFile
from musicgen.checkpoints.packed.select import config_of
from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.interface import GenerationJob, Row, run_to_end
from musicgen.engine.native.backend import NativeBackend
from musicgen.model.native import generation
from musicgen.model.native.huge_pages import HUGE_PAGE, has_huge_pages, reserve_huge_pages
from musicgen.model.native.library import load_library
from musicgen.model.native.product import NativeProduct
from musicgen.model.tokenizer import build_tokenizer
from musicgen.request import SamplingParams

ROWS = (Row("slow calm piano", 5, SamplingParams(1.0, 20, 0.0, 3.0)),)
MOVES = 20
native = pytest.mark.skipif(load_library() is None, reason="no native library here")
huge = pytest.mark.skipif(not has_huge_pages(), reason="no huge pages here")
Opened = tuple[PackFile, NativeBackend]


@pytest.fixture(params=["native-int8", "native-int4", "native-bfloat16", "native-float32"])
def opened(
    packed: Callable[[str, str], Path],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Opened:
    """Open a small packed file; its weights move although caches would hold them."""
    monkeypatch.setattr(generation, "LEAST_MOVED", 1)
    pack = PackFile(packed("musicgen-small", request.param))
    library = load_library()
    assert library is not None
    arrays = {name: pack[name] for name in pack.names()}
    tokenize = build_tokenizer(pack.read, pack.path)
    return pack, NativeBackend(library, config_of(pack), arrays, tokenize, "int8")


def generate(backend: NativeBackend) -> list[int]:
    output = run_to_end(MusicGenEngine(backend).generate(GenerationJob(ROWS, 20)))
    return [int(token) for token in np.asarray(output.codes).ravel()]


@native
@huge
def test_moved_weights_give_the_same_tokens(opened: Opened) -> None:
    pack, backend = opened
    expected = generate(backend)
    moved = list(backend.move_weights())
    assert "decoder.heads" in moved
    assert "decoder.layers.0.self_attention.qkv" in moved
    assert generate(backend) == expected
    for name in moved:
        pack.release(f"{name}.weight")
    assert generate(backend) == expected


@native
@huge
def test_a_weight_can_be_released_before_the_next_one_moves(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a worker would hold all weights twice for a moment."""
    _, backend = opened
    moves: list[str] = []
    move = NativeProduct.move

    def count(product: NativeProduct, memory: NDArray[np.uint8]) -> None:
        moves.append(product.name)
        move(product, memory)

    monkeypatch.setattr(NativeProduct, "move", count)
    yielded = [(name, tuple(moves)) for name in backend.move_weights()]
    assert len(yielded) > 1
    assert all(seen == tuple(moves[: i + 1]) for i, (_, seen) in enumerate(yielded))
    assert [name for name, _ in yielded] == moves


@native
@huge
def test_weights_move_while_steps_run(opened: Opened) -> None:
    """A step reads either place, and neither may vanish under it."""
    _, backend = opened
    expected = generate(backend)
    done = threading.Event()

    def move() -> None:
        for _ in range(MOVES):
            list(backend.move_weights())
        done.set()

    thread = threading.Thread(target=move)
    thread.start()
    found = [generate(backend)]
    while not done.is_set():
        found.append(generate(backend))
    thread.join()
    assert all(tokens == expected for tokens in found)


def test_a_released_array_is_read_from_the_file_again(packed: Callable[[str, str], Path]) -> None:
    pack = PackFile(packed("musicgen-small", "native-float32"))
    before = {name: pack[name].tobytes() for name in pack.names()}
    views = {name: pack[name] for name in pack.names()}
    for name in views:
        pack.release(name)
    assert {name: view.tobytes() for name, view in views.items()} == before


@huge
def test_memory_begins_at_a_huge_page_and_is_zero() -> None:
    data = reserve_huge_pages(3 * HUGE_PAGE + 5)
    assert data is not None
    assert len(data) == 3 * HUGE_PAGE + 5
    assert data.ctypes.data % HUGE_PAGE == 0
    assert not data.any()
    data[-1] = 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [("always [madvise] never", True), ("[always] madvise never", True), ("[never]", False)],
)
@huge
def test_the_system_says_whether_it_has_huge_pages(
    text: str, expected: bool, tmp_path: Path
) -> None:
    file = tmp_path / "enabled"
    file.write_text(text + "\n")
    assert has_huge_pages(file) is expected
    assert not has_huge_pages(tmp_path / "none")
