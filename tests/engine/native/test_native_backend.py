"""The native backend: the tokens and the sound of PyTorch's, on the packed file."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.interface import GenerationJob, PromptSpan, Row
from musicgen.engine.loading import load_engine
from musicgen.engine.native.backend import NativeBackend
from musicgen.model.native.library import load_library
from musicgen.request import SamplingParams
from musicgen.settings import Settings
from tests.support import engines
from tests.support.packs import pack_folder

pytestmark = pytest.mark.skipif(load_library() is None, reason="no native library here")

VARIED = ["musicgen-small", "musicgen-stereo-medium", "musicgen-melody", "three-codebooks"]
PRECISIONS = ["float32", "bfloat16", "int8", "int4"]
SAMPLED = SamplingParams(1.0, 20, 0.0, 3.0)
ROWS = (
    Row("slow calm piano", 5, SAMPLED),
    Row("upbeat drums and synth with a fast melody", 6, SAMPLED, "noise"),
    Row("", 7, SamplingParams(0.0, 0, 0.0, 1.0)),
)
LARGEST_DIFFERENCE = 0.01
"""Of the sound; the codec's weights are rounded to 16 bits."""
Loaded = tuple[MusicGenEngine, MusicGenEngine]


@pytest.fixture(scope="module")
def load(
    checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Loaded]:
    """Load a checkpoint into both backends; PyTorch's has the native step, with the same sums."""

    @functools.cache
    def load_both(name: str, precision: str) -> Loaded:
        folder = checkpoints(name)
        file = pack_folder(folder, f"native-{precision}", tmp_path_factory.mktemp(name)).path
        engine = load_engine(file, name, Settings(device="cpu", precision=precision))
        assert isinstance(engine, MusicGenEngine) and isinstance(engine.backend, NativeBackend)
        return engine, engines.engine(folder, precision)

    return load_both


def _check_equal(loaded: Loaded, job: GenerationJob) -> None:
    found, wanted = (engines.run(engine, job) for engine in loaded)
    assert np.array_equal(found.codes, wanted.codes)
    for ours, theirs in zip(found.pcm, wanted.pcm, strict=True):
        assert ours.shape == theirs.shape and ours.dtype == np.float32
        assert np.abs(ours - theirs).max() < LARGEST_DIFFERENCE


def _noise(seconds: float, engine: MusicGenEngine, channels: int) -> np.ndarray:
    count = int(seconds * engine.config.sample_rate)
    return 0.1 * np.random.default_rng(3).standard_normal((count, channels)).astype(np.float32)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", VARIED)
def test_the_tokens_are_those_of_pytorch(
    load: Callable[[str, str], Loaded], name: str, precision: str
) -> None:
    _check_equal(load(name, precision), GenerationJob(ROWS, 30))


@pytest.mark.parametrize("name", VARIED)
def test_a_long_clip_with_sections_has_the_same_tokens(
    load: Callable[[str, str], Loaded], name: str
) -> None:
    spans = (PromptSpan("piano", 20), PromptSpan("", 15), PromptSpan("drums", 40))
    _check_equal(load(name, "int8"), GenerationJob(ROWS[:1], 75, spans=spans))


def test_a_melody_is_followed_in_the_same_way(load: Callable[[str, str], Loaded]) -> None:
    loaded = load("musicgen-melody", "int8")
    melody = _noise(1.5, loaded[0], 1)
    _check_equal(loaded, GenerationJob(ROWS, 40, melody=melody))


@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-stereo-medium"])
def test_an_audio_prompt_is_continued_in_the_same_way(
    load: Callable[[str, str], Loaded], name: str
) -> None:
    loaded = load(name, "int8")
    prompt = _noise(0.3, loaded[0], loaded[0].config.channels)
    job = GenerationJob(ROWS[:2], 40, audio_prompt=prompt)
    _check_equal(loaded, job)
    known = engines.run(loaded[0], job).codes[0, :, :15]
    _check_equal(loaded, replace(job, audio_prompt=None, known_codes=known))
    assert loaded[0].codec_fingerprint == loaded[1].codec_fingerprint


@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-stereo-medium"])
def test_a_stream_joins_to_the_clip(load: Callable[[str, str], Loaded], name: str) -> None:
    engine, _ = load(name, "int8")
    job = GenerationJob(ROWS[:2], 70)
    whole = engines.run(engine, job)
    output, progress = engines.run_with_progress(engine, replace(job, stream=True))
    assert np.array_equal(output.codes, whole.codes)
    pieces = [piece.pcm for piece in progress if piece.pcm]  # type: ignore[attr-defined]
    assert len(pieces) > 2
    for row, pcm in enumerate(output.pcm):
        assert np.array_equal(pcm, whole.pcm[row])
        assert np.array_equal(np.concatenate([piece[row] for piece in pieces]), pcm)


def test_a_cancelled_job_leaves_room_for_the_next(load: Callable[[str, str], Loaded]) -> None:
    engine, _ = load("musicgen-small", "int8")
    steps = engine.generate(GenerationJob(ROWS, 60))
    assert 0 < next(steps).done < 60
    steps.close()
    assert engine._batch._scheduler.active_rows == 0
    assert engines.run(engine, GenerationJob(ROWS[:1], 10)).codes.shape[2] == 10


@pytest.mark.parametrize("name", VARIED)
def test_the_likelihood_is_that_of_pytorch(load: Callable[[str, str], Loaded], name: str) -> None:
    engine, known = load(name, "float32")
    pcm = _noise(0.5, engine, engine.config.channels)
    for prompt in ("calm piano", ""):
        found = engine.negative_log_likelihood(prompt, pcm)
        assert found == pytest.approx(known.negative_log_likelihood(prompt, pcm), rel=1e-4)


def test_nothing_imports_pytorch(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    file = pack_folder(checkpoints("musicgen-small"), "native-int8", tmp_path).path
    script = (
        "import sys; from pathlib import Path\n"
        "from musicgen.engine.loading import load_engine\n"
        "from musicgen.engine.interface import GenerationJob, Row, run_to_end\n"
        "from musicgen.request import SamplingParams\n"
        "from musicgen.settings import Settings\n"
        f"engine = load_engine(Path({str(file)!r}), 'small', Settings(device='cpu'))\n"
        "row = Row('piano', 1, SamplingParams())\n"
        "output = run_to_end(engine.generate(GenerationJob((row,), 10)))\n"
        "assert output.codes.shape[2] == 10 and len(output.pcm[0])\n"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] == 'torch'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
