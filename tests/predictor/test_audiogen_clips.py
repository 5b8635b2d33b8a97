"""Clips of a converted AudioGen: 16 kHz in every format and after every step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from musicgen import errors
from musicgen.audio.mp3_frames import read_frame
from musicgen.audio.tags import read_tags
from musicgen.midi.packages import find_missing
from musicgen.predictor import Predictor
from musicgen.request import GenerationRequest
from musicgen.request.limits import NORMALIZATION_STRATEGIES, OUTPUT_FORMATS
from musicgen.settings import Settings
from tests.support import audiogen
from tests.support.onnx_stems import write_model as write_stem_model

RATE = audiogen.SAMPLE_RATE


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A predictor of the toy model."""
    model = audiogen.convert_toy(tmp_path_factory.mktemp("model"))
    folder = tmp_path_factory.mktemp("clips")
    stems = write_stem_model(folder / "bands.onnx")
    return Predictor.load(
        Settings(model=str(model), threads=1, data_dir=folder, separation=str(stems))
    )


def _run(predictor: Predictor, **fields: object) -> str:
    request = GenerationRequest.from_mapping(
        {"prompt": audiogen.PROMPT, "duration": 1.0, "seed": 1, **fields}
    )
    (clip,) = predictor.generate(request).clips
    return clip.address


@pytest.mark.parametrize("output_format", OUTPUT_FORMATS)
def test_a_sound_is_a_file_of_16_khz(predictor: Predictor, output_format: str) -> None:
    address = _run(predictor, output_format=output_format)
    rate = 48_000 if output_format == "opus" else RATE
    found = sf.info(address)
    assert (found.samplerate, found.frames) == (rate, rate)
    tags = read_tags(Path(address))
    assert tags is not None and tags.model == "audiogen"
    assert tags.licence == "CC-BY-NC-4.0, base model Apache-2.0"


@pytest.mark.parametrize("strategy", NORMALIZATION_STRATEGIES)
def test_the_level_is_set_at_16_khz(predictor: Predictor, strategy: str) -> None:
    address = _run(predictor, duration=2.0, normalization_strategy=strategy, sample_rate=44_100)
    found = sf.info(address)
    assert (found.samplerate, found.frames) == (44_100, 88_200)


@pytest.mark.parametrize("bitrate", [32, 64, 160])
def test_an_mp3_of_16_khz_has_its_bitrate(predictor: Predictor, bitrate: int) -> None:
    """Below 32 kHz the scale of bitrates is another one: 64 became 32."""
    data = Path(_run(predictor, output_format="mp3", bitrate=bitrate)).read_bytes()
    size = sum((byte & 127) << 7 * (3 - k) for k, byte in enumerate(data[6:10]))
    start = 10 + size if data.startswith(b"ID3") else 0
    frame = read_frame(data, start)
    assert frame is not None
    # The second frame is sound; the first may hold the length alone.
    second = read_frame(data, start + frame.size)
    assert second is not None and second.stream[2] == RATE
    assert second.size == pytest.approx(second.samples / 8 * 1000 * bitrate / RATE, abs=1)


def test_an_mp3_of_16_khz_has_no_more_than_160_kbit(predictor: Predictor) -> None:
    with pytest.raises(errors.InvalidRequest, match=r"bitrate must be at most 160 .* 16000 Hz"):
        _run(predictor, output_format="mp3", bitrate=320)
    assert sf.info(_run(predictor, output_format="mp3", bitrate=320, sample_rate=32_000))


@pytest.mark.parametrize("output_format", ["wav", "mp3", "ogg"])
def test_a_live_sound_has_16_khz(predictor: Predictor, output_format: str, tmp_path: Path) -> None:
    request = GenerationRequest(
        prompt=audiogen.PROMPT, duration=1.0, seed=1, output_format=output_format
    )
    file = tmp_path / f"live.{output_format}"
    generation = predictor.start(request, stream="joined")
    file.write_bytes(b"".join(progress.audio[0] for progress in generation if progress.audio))
    assert sf.info(str(file)).samplerate == RATE


def test_a_recording_of_any_rate_is_continued(predictor: Predictor, tmp_path: Path) -> None:
    tone = 0.4 * np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)
    sf.write(tmp_path / "tone.wav", tone, 44_100)
    address = _run(
        predictor,
        duration=2.0,
        input_audio=tmp_path / "tone.wav",
        continuation=True,
        normalization_strategy="none",
        bit_depth="float",
    )
    sound, rate = sf.read(address)
    assert (rate, len(sound)) == (RATE, 2 * RATE)
    expected = 0.4 * np.sin(2 * np.pi * 440 * np.arange(RATE // 2) / RATE)
    np.testing.assert_allclose(sound[400 : RATE // 2], expected[400:], atol=1e-3)


def test_saved_tokens_are_continued(predictor: Predictor) -> None:
    first = _run(predictor, save_tokens=True)
    second = _run(predictor, duration=2.0, input_audio=Path(first), continuation=True)
    assert sf.info(second).frames == 2 * RATE


def test_a_loop_has_whole_bars(predictor: Predictor) -> None:
    assert sf.info(_run(predictor, duration=2.0, loop=True, bpm=120.0)).frames == 2 * RATE


def test_stems_have_the_rate_of_the_sound(predictor: Predictor) -> None:
    """Separation happens at a rate of its own."""
    request = GenerationRequest(
        prompt=audiogen.PROMPT, duration=1.0, seed=1, stems=True, bit_depth="float"
    )
    (clip,) = predictor.generate(request).clips
    read = [sf.read(part.address) for part in clip.parts]
    assert {(len(stem), rate) for stem, rate in read} == {(RATE, RATE)}
    total = _keep_low(np.sum([stem for stem, _ in read], axis=0))
    whole = _keep_low(sf.read(clip.address)[0])
    assert np.corrcoef(total, whole)[0, 1] > 0.99


@pytest.mark.skipif(find_missing() is not None, reason="basic-pitch's model is not installed")
def test_the_notes_of_a_sound_are_transcribed(predictor: Predictor) -> None:
    request = GenerationRequest(prompt=audiogen.PROMPT, duration=1.0, seed=1, midi=True)
    (part,) = predictor.generate(request).clips[0].parts
    assert Path(part.address).read_bytes().startswith(b"MThd")


def test_multi_band_diffusion_is_refused(predictor: Predictor) -> None:
    with pytest.raises(errors.InvalidRequest, match=r"^decoder"):
        _run(predictor, decoder="multi_band_diffusion")


def test_a_melody_is_refused(predictor: Predictor, tmp_path: Path) -> None:
    sf.write(tmp_path / "clip.wav", np.zeros(RATE), RATE)
    with pytest.raises(errors.InvalidInputAudio, match="follows text only"):
        _run(predictor, input_audio=tmp_path / "clip.wav")


def _keep_low(sound: np.ndarray) -> np.ndarray:
    """Return a sound below 6 kHz: the resampler takes the rest of a noise away."""
    spectrum = np.fft.rfft(sound)
    spectrum[6000 * len(sound) // RATE :] = 0
    return np.fft.irfft(spectrum, len(sound))
