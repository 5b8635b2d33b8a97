"""Music of minutes, by the embedded model: no seam, no drift, no growth."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from musicgen.audio.embedded_tokens import read_tokens
from musicgen.audio.loudness import measure_loudness
from musicgen.engine.interface import plan_job
from musicgen.predictor import Predictor
from musicgen.predictor.prepare import prepare
from musicgen.request import GenerationRequest
from musicgen.settings import Settings

PROMPT = "upbeat piano melody in C major"
MEBIBYTES_FOR_SAMPLES = 1.0
"""Of each second: some copies of it as it is made, joined, finished and written."""
_MEASURED = """
import json, resource, sys
from pathlib import Path
from musicgen.predictor import Predictor
from musicgen.request import GenerationRequest
from musicgen.settings import Settings
predictor = Predictor.load(Settings(data_dir=Path(sys.argv[1]), threads=2))
predictor.generate(GenerationRequest(prompt="calm piano", duration=30, seed=3))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
predictor.generate(GenerationRequest(prompt="calm piano", duration=float(sys.argv[2]), seed=3))
print(json.dumps((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor.load(Settings(data_dir=tmp_path_factory.mktemp("clips")))


@pytest.mark.parametrize("seconds", [40.0, pytest.param(300.0, marks=pytest.mark.slow)])
def test_windows_leave_neither_seam_nor_drift(demo: Predictor, seconds: float) -> None:
    request = GenerationRequest(prompt=PROMPT, duration=seconds, seed=7, bit_depth="float")
    clip = demo.generate(request).clips[0]
    pcm, rate = sf.read(clip.address, dtype="float32", always_2d=True)
    assert len(pcm) == seconds * rate
    config = demo.engine.config
    windows = plan_job(prepare(request, 7, config).job, config)
    borders = [window.start + window.context for window in windows if window.start]
    assert len(borders) > seconds / 8
    steps = np.abs(np.diff(pcm[:, 0]))
    usual = np.percentile(steps, 99.9)
    for border in borders:
        at = border * config.codec.hop_length
        assert steps[at - 2 : at + 2].max() <= usual, border
    length = (len(pcm) - 1) // 2 if seconds < 60 else 30 * rate
    first, last = (measure_loudness(part, rate) for part in (pcm[:length], pcm[-length:]))
    assert first is not None and last is not None
    assert abs(first - last) <= 1.0


@pytest.mark.slow
def test_ten_times_the_length_takes_no_more_than_its_samples(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _MEASURED, str(tmp_path), "300"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) < 270 * MEBIBYTES_FOR_SAMPLES


def test_a_loop_of_the_model_s_own_music_has_no_seam(demo: Predictor) -> None:
    request = GenerationRequest(
        prompt="fast high bells", duration=4, seed=5, loop=True, bpm=120, bit_depth="float"
    )
    result = demo.generate(request)
    clip = result.clips[0]
    pcm, rate = sf.read(clip.address, dtype="float32", always_2d=True)
    assert len(pcm) == clip.samples == 4 * rate
    assert clip.prompt == "fast high bells, 120 bpm"
    assert np.abs(pcm[0] - pcm[-1]).max() <= np.percentile(np.abs(np.diff(pcm, axis=0)), 99.9)


def test_sections_go_on_from_one_another(demo: Predictor, tmp_path: Path) -> None:
    sections = [
        {"prompt": "calm piano", "duration": 3.0},
        {"prompt": "fast high bells", "duration": 2.5},
    ]
    result = demo.generate(
        GenerationRequest.from_mapping({"sections": sections, "seed": 2, "prompt": "in C major"})
    )
    clip = result.clips[0]
    assert clip.seconds == result.seconds == 5.5
    assert clip.prompt == "in C major, calm piano | in C major, fast high bells"
    alone = demo.generate(
        GenerationRequest(prompt="in C major, calm piano", duration=3, seed=2, bit_depth="float")
    )
    assert clip.sha256 != alone.clips[0].sha256


def test_a_negative_prompt_changes_the_music(demo: Predictor) -> None:
    fields = {"prompt": "piano", "duration": 0.5, "seed": 4}
    plain, avoided, other = (
        demo.generate(GenerationRequest.from_mapping(fields | more)).clips[0].sha256
        for more in (
            {},
            {"negative_prompt": "drums"},
            {"negative_prompt": " "},
        )
    )
    assert plain == other != avoided


def test_prompts_make_clips_that_each_says_what_it_is(demo: Predictor) -> None:
    request = GenerationRequest.from_mapping(
        {"prompts": ["calm piano", "fast bells"], "variations": 2, "duration": 0.5, "seed": 9}
    )
    result = demo.generate(request)
    assert [(clip.prompt, clip.seed) for clip in result.clips] == [
        ("calm piano", 9),
        ("calm piano", 10),
        ("fast bells", 11),
        ("fast bells", 12),
    ]
    alone = demo.generate(GenerationRequest(prompt="fast bells", duration=0.5, seed=11))
    assert alone.clips[0].sha256 == result.clips[2].sha256


def test_a_clip_is_continued_from_the_tokens_that_it_carries(
    demo: Predictor, tmp_path: Path
) -> None:
    """Guards a second trip through the codec, after which the beginning is another one."""
    fields = {"prompt": PROMPT, "seed": 3, "normalization_strategy": "none", "bit_depth": "float"}
    whole = GenerationRequest.from_mapping(fields | {"duration": 3.0, "save_tokens": True})
    first = demo.generate(whole).clips[0]
    tokens = read_tokens(Path(first.address))
    assert tokens is not None and tokens.codes.shape == (4, 150)
    longer = fields | {"continuation": True, "input_audio": Path(first.address), "duration": 5.0}
    result = demo.generate(GenerationRequest.from_mapping(longer | {"save_tokens": True}))
    assert any("tokens that the clip carries" in note for note in result.notes)
    again = read_tokens(Path(result.clips[0].address))
    assert again is not None
    np.testing.assert_array_equal(again.codes[:, :150], tokens.codes)
    before, _ = sf.read(first.address)
    after, _ = sf.read(result.clips[0].address)
    # But for what the codec hears of the future at the old end.
    settled = len(before) - 32_000 // 4
    np.testing.assert_allclose(after[:settled], before[:settled], atol=1e-4)
    assert len(after) == 5 * 32_000


def test_a_part_of_it_or_a_clip_of_another_codec_is_continued_from_its_sound(
    demo: Predictor, checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    request = GenerationRequest(prompt=PROMPT, seed=3, duration=2.0, save_tokens=True)
    path = Path(demo.generate(request).clips[0].address)
    fields = {"prompt": "x", "continuation": True, "input_audio": path, "duration": 2.5}
    other = Predictor.load(
        Settings(model=str(checkpoints("musicgen-small")), data_dir=tmp_path, precision="float32")
    )
    for predictor, more in ((demo, {"continuation_start": 0.5}), (other, {"top_k": 20})):
        result = predictor.generate(GenerationRequest.from_mapping(fields | more))
        assert not any("tokens" in note for note in result.notes)
