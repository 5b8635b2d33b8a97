"""The demo model in both engines: the same tokens, nearly the same sound, equally good music."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from musicgen.checkpoints.locate import locate
from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.interface import GenerationJob, Row, run_to_end
from musicgen.engine.loading import load_engine
from musicgen.engine.native.backend import NativeBackend
from musicgen.model.native.library import load_library
from musicgen.request import SamplingParams
from musicgen.settings import Settings
from tests.support.packs import pack_folder
from training.data import HELD_OUT_SEED
from training.music.piece import random_piece
from training.music.render import render
from training.music.words import describe

pytestmark = pytest.mark.skipif(load_library() is None, reason="no native library here")

FRAMES = 150
PROMPTS = ("upbeat piano melody", "soft low flute in C major", "loud drums", "fast high bells")
MOST_DECIBELS = {"float32": -110.0, "bfloat16": -70.0, "int8": -70.0}
"""Largest error of the codec by form, relative to the music."""
MOST_STEPS = {"float32": 1, "bfloat16": 4, "int8": 4}
"""Largest difference of a sample, in steps of a 16-bit file."""
MOST_IN_A_STREAM = 1e-4
Sound = NDArray[np.float32]
Load = Callable[[str], tuple[MusicGenEngine, MusicGenEngine]]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Load the demo packed, into the native engine, and unpacked, into PyTorch's."""
    folder = tmp_path_factory.mktemp("packed")

    @functools.cache
    def load_both(precision: str) -> tuple[MusicGenEngine, MusicGenEngine]:
        file = pack_folder(Path("demo"), f"native-{precision}", folder).path
        settings = Settings(device="cpu", precision=precision, threads=1)
        packed = load_engine(file, "demo", settings)
        known = load_engine(locate("demo").folder, "demo", settings)
        assert isinstance(packed, MusicGenEngine) and isinstance(known, MusicGenEngine)
        assert isinstance(packed.backend, NativeBackend)
        assert not isinstance(known.backend, NativeBackend)
        return packed, known

    return load_both


def _measure_decibels(error: Sound, sound: Sound) -> float:
    return float(10 * np.log10((error.astype(np.float64) ** 2).mean() / (sound**2).mean()))


def _to_16_bits(sound: Sound) -> NDArray[np.int32]:
    return np.rint(np.clip(sound, -1, 1) * 32767).astype(np.int32)


@pytest.mark.parametrize("precision", MOST_DECIBELS)
def test_the_clips_are_those_of_pytorch(load: Load, precision: str) -> None:
    """The tokens are equal; the sound differs by the form of the codec's weights."""
    sampling = SamplingParams(top_k=50, guidance=3.0)
    rows = tuple(Row(prompt, seed, sampling) for seed, prompt in enumerate(PROMPTS))
    found, known = (
        run_to_end(engine.generate(GenerationJob(rows, FRAMES))) for engine in load(precision)
    )
    assert np.array_equal(found.codes, known.codes)
    for ours, theirs in zip(found.pcm, known.pcm, strict=True):
        assert np.sqrt((theirs**2).mean()) > 0.003, "an error is measured on music"
        assert _measure_decibels(ours - theirs, theirs) <= MOST_DECIBELS[precision]
        assert np.abs(_to_16_bits(ours) - _to_16_bits(theirs)).max() <= MOST_STEPS[precision]


@pytest.mark.parametrize("precision", MOST_DECIBELS)
def test_a_stream_of_the_codec_is_the_whole_of_pytorch(load: Load, precision: str) -> None:
    """Pieces of any length join without a click."""
    packed, known = load(precision)
    random = np.random.default_rng(1)
    pieces = [random_piece(random) for _ in range(2)]
    for piece in pieces:
        codes = known.backend.encode_audio(render(piece, 3.0, random)[:, None])
        whole = np.concatenate(list(known.backend.decode(codes)))
        stream, parts, start = packed.backend.open_stream(), [], 0
        while start < codes.shape[1]:
            length = int(random.integers(1, 40))
            end = min(start + length, codes.shape[1])
            parts.append(stream.push(codes[:, start:end], last=end == codes.shape[1]))
            start = end
        joined = np.concatenate(parts)
        assert np.array_equal(joined, np.concatenate(list(packed.backend.decode(codes))))
        assert np.abs(joined - whole).max() <= MOST_IN_A_STREAM
        assert _measure_decibels(joined - whole, whole) <= MOST_DECIBELS[precision]


def test_music_is_encoded_to_the_same_codes(load: Load) -> None:
    """A continuation begins with the tokens of its audio prompt."""
    packed, known = load("int8")
    random = np.random.default_rng(2)
    for _ in range(4):
        pcm = render(random_piece(random), 2.0, random)[:, None]
        assert np.array_equal(packed.backend.encode_audio(pcm), known.backend.encode_audio(pcm))


def test_the_likelihood_of_music_stays(load: Load) -> None:
    """The packed int8 form, on music that the model was not trained on, costs less than 1 %."""
    random = np.random.default_rng(HELD_OUT_SEED)
    pieces = [random_piece(random) for _ in range(6)]
    music = [(describe(piece, random), render(piece, 2.0, random)[:, None]) for piece in pieces]
    nats = {}
    for name, engine in (("int8", load("int8")[0]), ("float32", load("float32")[1])):
        scores = [engine.negative_log_likelihood(prompt, pcm) for prompt, pcm in music]
        nats[name] = float(np.mean(scores))
    assert nats["int8"] != nats["float32"]
    assert nats["int8"] == pytest.approx(nats["float32"], rel=0.01)
