"""Run all parts of a native library given by its path. Imports no torch.

`python -m tests.support.native_driver LIBRARY [--cases N]`. Started by the sanitizer tests, because
a sanitizer must be loaded before Python. Each array ends at the end of a page, and the page behind
it cannot be read: a build without a sanitizer, too, dies of the first access beyond an array.
"""

from __future__ import annotations

import argparse
import ctypes
import mmap
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicgen.model.native import codec_forms
from musicgen.model.native.codec import NativeCodec
from musicgen.model.native.generation import NativeDecoderModel
from musicgen.model.native.library import BFLOAT16_CACHE, FLOAT32_CACHE, INT8_CACHE, Library
from musicgen.model.native.step_file import AVX2
from musicgen.model.native.text_encoder import NativeTextEncoder
from musicgen.model.native.window_state import step_windows
from tests.support.native_codecs import make_weights, pick_config
from tests.support.native_numbers import FLOAT16, FLOAT32, INT4, INT8, Decoder, Linear, Row, Shape
from tests.support.native_parts import (
    Weights,
    make_decoder,
    make_state,
    make_text_encoder,
    pick_decoder,
    pick_text_encoder,
)

PAGE = mmap.PAGESIZE
HEAD_SIZES = [1, 3, 8, 17, 32, 64, 64, 65]
_libc = ctypes.CDLL(None, use_errno=True)


class Guard:
    """Places arrays before pages that cannot be read."""

    def __init__(self) -> None:
        self._maps: list[mmap.mmap] = []

    def place(self, array: NDArray[Any]) -> NDArray[Any]:
        size = max(array.nbytes, 1)
        room = -(-size // PAGE) * PAGE
        pages = mmap.mmap(-1, room + PAGE)
        self._maps.append(pages)
        start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
        if _libc.mprotect(ctypes.c_void_p(start + room), PAGE, 0) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")
        placed = np.frombuffer(pages, array.dtype, array.size, room - array.nbytes)
        placed = placed.reshape(array.shape)
        placed[...] = array
        return placed


def run_product(libraries: list[Library], random: np.random.Generator, place: Any) -> None:
    outputs, inputs, count = random.integers(1, (100, 200, 70))
    weight = random.normal(size=(outputs, inputs)) / inputs**0.5
    linear = Linear(weight, int(random.choice([INT8, FLOAT16, FLOAT32, INT4])), place)
    x = random.normal(size=(count, inputs)).astype(np.float32)
    expected = linear.expect(x)
    for library in libraries:
        found = linear.multiply(library, x, place)
        assert np.abs(found - expected).max() <= 1e-3


def run_step(libraries: list[Library], random: np.random.Generator, place: Any) -> None:
    shape = Shape(
        layers=int(random.integers(1, 3)),
        heads=int(random.integers(1, 5)),
        head_size=int(random.choice(HEAD_SIZES)),
        ffn=int(random.integers(1, 100)),
        form=int(random.choice([INT8, FLOAT16, FLOAT32, INT4])),
        cache=int(random.choice([BFLOAT16_CACHE, FLOAT32_CACHE, INT8_CACHE])),
        activation=int(random.integers(2)),
        has_cross=bool(random.integers(2)),
    )
    decoder = Decoder(shape, int(random.integers(2**32)), place)
    x = random.normal(size=(int(random.integers(1, 18)), shape.hidden)).astype(np.float32)
    kinds = []
    for index in range(len(x)):
        position = int(random.integers(70))
        cross = int(random.integers(1, 40)) if random.integers(2) else None
        kinds.append((index, position, int(random.integers(position + 1)), cross))
    found = [
        decoder.step(library, [Row(decoder, *kind) for kind in kinds], x) for library in libraries
    ]
    assert np.isfinite(found[0]).all()
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def run_codec(libraries: list[Library], random: np.random.Generator, place: Any) -> None:
    """Decode in pieces and whole, and encode, with another number of threads each time."""
    config, form = pick_config(random), int(random.choice([codec_forms.INT16, codec_forms.FLOAT32]))
    packed = codec_forms.pack_codec(config, make_weights(config, random), form)
    packed = {name: place(array) for name, array in packed.items()}
    frames = int(random.integers(40))
    codes = random.integers(config.codebook_size, size=(config.codebooks, frames))
    pcm = random.normal(size=(int(random.integers(200)), 1)).astype(np.float32)
    cut = int(random.integers(frames + 1))
    found = []
    for library in libraries:
        codec = NativeCodec(library, config, packed, channels=1)
        stream = codec.open_stream()
        parts = [stream.push(codes[:, :cut], False), stream.push(codes[:, cut:], True)]
        found.append((np.concatenate(parts), codec.encode(place(pcm))))
    for other in found[1:]:
        np.testing.assert_array_equal(other[0], found[0][0])
        np.testing.assert_array_equal(other[1], found[0][1])


def run_text(libraries: list[Library], random: np.random.Generator, place: Any) -> None:
    config = pick_text_encoder(random)
    arrays = make_text_encoder(config, Weights(random, place))
    tokens = random.integers(config.vocab_size, size=int(random.integers(1, 40))).tolist()
    found = [NativeTextEncoder(library, config, arrays).encode(tokens) for library in libraries]
    assert np.isfinite(found[0]).all()
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def run_generation(libraries: list[Library], random: np.random.Generator, place: Any) -> None:
    """Generate several windows, which join the batch one by one."""
    config, form = pick_decoder(random), int(random.choice([INT8, FLOAT16, FLOAT32]))
    arrays = make_decoder(config, Weights(random, place), form)
    seeds = random.integers(2**32, size=3)
    found = []
    for library in libraries:
        model = NativeDecoderModel(library, config, arrays)
        states = [make_state(model, np.random.default_rng(seed)) for seed in seeds]
        running = []
        for state in (*states, *[None] * 40):
            if state is not None:
                while not state.prefill(7):
                    pass
                running.append(state)
            running = [each for each in running if each.steps_done < each.total_steps]
            if running:
                step_windows(running)
        assert all(state.is_finite() and state.sequence.min() >= 0 for state in states)
        found.append(np.concatenate([state.sequence.ravel() for state in states]))
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


RUNS = (run_product, run_step, run_codec, run_text, run_generation)


def run(libraries: list[Library], seed: int, guarded: bool) -> None:
    random = np.random.default_rng(seed)
    place = Guard().place if guarded else np.ascontiguousarray
    RUNS[seed % len(RUNS)](libraries, random, place)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("library", type=Path)
    parser.add_argument("--cases", type=int, default=50)
    parser.add_argument("--guarded", action="store_true")
    arguments = parser.parse_args()
    libraries = []
    for threads in (1, 2, 3):
        library = Library(arguments.library)
        library.threads = threads
        libraries.append(library)
    functions = libraries[0].functions
    for level in range(AVX2, functions.native_level() + 1):
        functions.native_limit(level)
        # Callers at the same time, as the engine and the text encoder of another job are.
        with ThreadPoolExecutor(3) as callers:
            jobs = [
                callers.submit(run, libraries, seed, arguments.guarded)
                for seed in range(arguments.cases)
            ]
            for job in jobs:
                job.result()
    sys.stdout.write("clean\n")


if __name__ == "__main__":
    main()
