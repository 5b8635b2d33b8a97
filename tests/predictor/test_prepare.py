"""From a request to what an engine is asked to do."""

from __future__ import annotations

import itertools
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st

from musicgen import errors
from musicgen.checkpoints.locate import locate
from musicgen.engine.interface import check_job, plan_job
from musicgen.model.config import MusicGenConfig
from musicgen.predictor.prepare import prepare
from musicgen.request import GenerationRequest

CONFIG = MusicGenConfig.from_folder(locate("demo").folder)
MELODY = replace(CONFIG, family="melody")
RATE, HOP, WINDOW = CONFIG.sample_rate, CONFIG.codec.hop_length, CONFIG.window_frames


def _request(**fields: Any) -> GenerationRequest:
    return GenerationRequest.from_mapping({"prompt": "calm piano"} | fields)


def _clip(path: Path, samples: int, rate: int = RATE, channels: int = 1) -> Path:
    noise = np.random.default_rng(samples).normal(0, 0.1, (samples, channels))
    sf.write(path, noise, rate, subtype="FLOAT", format="WAV")
    return path


@given(st.integers(10, 30_000), st.integers(1, 8))
def test_enough_frames_are_made_and_not_one_more(hundredths: int, variations: int) -> None:
    request = _request(duration=hundredths / 100, variations=variations)
    job = prepare(request, 0, CONFIG).job
    samples = round(hundredths / 100 * RATE)
    assert (job.frames - 1) * HOP < samples <= job.frames * HOP
    assert len(job.rows) == variations
    assert sum(window.new_frames for window in plan_job(job, CONFIG)) == job.frames


def test_each_prompt_has_its_variations_and_each_clip_its_seed() -> None:
    prepared = prepare(_request(prompt="", prompts=["a", "b"], variations=3), 10, CONFIG)
    assert prepared.texts == ("a", "a", "a", "b", "b", "b")
    assert [(row.prompt, row.seed) for row in prepared.job.rows] == [
        *(("a", seed) for seed in (10, 11, 12)),
        *(("b", seed) for seed in (13, 14, 15)),
    ]


@given(st.lists(st.integers(10, 900), min_size=1, max_size=8))
def test_sections_make_up_the_clip(hundredths: list[int]) -> None:
    sections = [{"prompt": f"part {i}", "duration": h / 100} for i, h in enumerate(hundredths)]
    request = _request(prompt="jazz", sections=sections)
    assert request.duration == pytest.approx(sum(hundredths) / 100)
    job = prepare(request, 0, CONFIG).job
    assert [each.prompt for each in job.spans] == [
        f"jazz, part {i}" for i in range(len(hundredths))
    ]
    assert sum(each.frames for each in job.spans) == job.frames
    ends = itertools.accumulate(each.frames for each in job.spans)
    for end, wanted in zip(ends, itertools.accumulate(hundredths), strict=True):
        assert abs(end - wanted / 2) <= 1


def test_a_tempo_is_told_to_the_model_once() -> None:
    def texts(**fields: Any) -> tuple[str, ...]:
        return prepare(_request(**fields), 0, CONFIG).texts

    assert texts(loop=True, bpm=97.5) == ("calm piano, 97.5 bpm",)
    assert texts(loop=True, bpm=90, prompt="techno 90 BPM") == ("techno 90 BPM",)
    assert texts(bpm=90) == ("calm piano, 90 bpm",)
    assert texts(prompts=["a", "b, 80 bpm"], prompt="", bpm=90) == ("a, 90 bpm", "b, 80 bpm")
    sections = [{"prompt": "piano", "duration": 1}, {"prompt": "drums", "duration": 1}]
    job = prepare(_request(prompt="jazz", sections=sections, bpm=90), 0, CONFIG).job
    assert [span.prompt for span in job.spans] == ["jazz, piano, 90 bpm", "jazz, drums, 90 bpm"]


@given(samples=st.integers(HOP, 30 * RATE), extra=st.integers(1, 3 * RATE))
def test_a_continuation_hears_whole_frames_up_to_the_end_of_the_clip(
    tmp_path_factory: pytest.TempPathFactory, samples: int, extra: int
) -> None:
    """Guards a last frame filled with silence, and a prompt that leaves the window no room."""
    path = _clip(tmp_path_factory.mktemp("clip") / "a.wav", samples)
    duration = (samples + extra) / RATE
    if duration < 0.1:
        return
    request = _request(input_audio=path, continuation=True, duration=duration)
    prepared = prepare(request, 0, CONFIG)
    heard, clip = prepared.job.audio_prompt, prepared.continued
    assert heard is not None and clip is not None
    assert len(heard) % HOP == 0 and 0 < len(heard) < WINDOW * HOP
    assert len(clip) == samples and prepared.offset + len(heard) == samples
    np.testing.assert_array_equal(clip[prepared.offset :], heard)
    made = prepared.offset + prepared.job.frames * HOP
    assert made >= round(duration * RATE) > made - 2 * HOP
    check_job(prepared.job, CONFIG)
    assert plan_job(prepared.job, CONFIG)


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        (
            {"continuation_start": 2.0},
            errors.InvalidContinuation,
            "end of the clip at 2.00 s",
        ),
        ({"continuation_start": 1.995}, errors.InvalidInputAudio, "at least 0.02 s"),
        ({"duration": 2.0}, errors.InvalidInputAudio, "Set a longer duration, or continue a part"),
        ({"duration": 1.0}, errors.InvalidInputAudio, "shorter than duration"),
    ],
)
def test_what_cannot_be_continued_is_refused_with_what_to_do(
    tmp_path: Path, fields: dict[str, Any], error: type[Exception], words: str
) -> None:
    """Guards peers' AssertionError where a prompt is as long as the clip."""
    path = _clip(tmp_path / "a.wav", 2 * RATE)
    with pytest.raises(error, match=words):
        prepare(_request(input_audio=path, continuation=True, **fields), 0, CONFIG)


@pytest.mark.parametrize("channels", [1, 6])
def test_an_hour_to_continue_is_refused_for_the_memory_of_what_was_asked_for(
    tmp_path: Path, channels: int
) -> None:
    """Guards a flac of some hundred kilobytes, an hour of silence, that took gigabytes."""
    path = tmp_path / "bomb.flac"
    with sf.SoundFile(path, "w", 8000, channels) as file:
        for _ in range(36):
            file.write(np.zeros((100 * 8000, channels), np.float32))
    assert path.stat().st_size < 1_000_000
    tracemalloc.start()
    with pytest.raises(errors.InvalidInputAudio, match=r"shorter than duration \(20 s\)"):
        prepare(_request(input_audio=path, continuation=True, duration=20), 0, CONFIG)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8 * 2**20


def test_a_text_model_refuses_a_melody_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidInputAudio, match="cannot be a melody here"):
        prepare(_request(input_audio=tmp_path / "missing.wav"), 0, CONFIG)


def test_the_end_of_a_clip_may_be_later_than_it_is(tmp_path: Path) -> None:
    path = _clip(tmp_path / "a.wav", RATE)
    fields = {"input_audio": path, "continuation": True, "duration": 2.0}
    later, at_end = (
        prepare(_request(**fields, continuation_end=end), 0, CONFIG).continued for end in (99, -1)
    )
    assert later is not None and at_end is not None
    np.testing.assert_array_equal(later, at_end)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 96_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_melody_is_heard_at_its_own_speed(tmp_path: Path, rate: int, channels: int) -> None:
    """Guards a sample rate that is thrown away: the melody then plays at another pitch."""
    time = np.arange(2 * rate) / rate
    tone = np.repeat(0.5 * np.sin(2 * np.pi * 440 * time)[:, None], channels, axis=1)
    sf.write(tmp_path / "a.wav", tone, rate, format="WAV")
    melody = prepare(_request(input_audio=tmp_path / "a.wav"), 0, MELODY).job.melody
    assert melody is not None and melody.shape == (2 * RATE, 1)
    spectrum = np.abs(np.fft.rfft(melody[:, 0]))
    assert spectrum.argmax() / 2 == pytest.approx(440, abs=1)


def test_a_melody_of_an_hour_is_not_kept(tmp_path: Path) -> None:
    path = _clip(tmp_path / "a.wav", 3600 * 8000, rate=8000)
    melody = prepare(_request(input_audio=path, duration=5), 0, MELODY).job.melody
    assert melody is not None and len(melody) == (5 + WINDOW / 50) * RATE


def test_a_melody_without_a_sample_is_refused(tmp_path: Path) -> None:
    """A short clip ignored it, and a long one ended in a traceback."""
    path = _clip(tmp_path / "a.wav", 1, rate=192_000)
    with pytest.raises(errors.InvalidInputAudio, match=r"too short to follow \(was '1 sample'\)"):
        prepare(_request(input_audio=path), 0, MELODY)
    path = _clip(tmp_path / "b.wav", RATE)
    part = {"continuation_start": 0.5, "continuation_end": 0.50001}
    with pytest.raises(errors.InvalidInputAudio, match=r"too short to follow \(was '0 samples'\)"):
        prepare(_request(input_audio=path, **part), 0, MELODY)
