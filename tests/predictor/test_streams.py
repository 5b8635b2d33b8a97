"""Streams of the predictor: bytes while the music is made, the whole clip at the end."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import mutagen.mp3
import numpy as np
import pytest
import soundfile as sf

from musicgen import errors
from musicgen.predictor import Predictor
from musicgen.request import GenerationRequest, StreamForm
from musicgen.result import GenerationResult
from musicgen.settings import Delivery, Settings
from musicgen.storage.inline import INLINE_MAX_BYTES

RATE = 32_000
SAMPLES = 40_001


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor.load(Settings(threads=1, data_dir=tmp_path_factory.mktemp("clips")))


def _request(**fields: object) -> GenerationRequest:
    given = {"prompt": "piano", "duration": SAMPLES / RATE, "seed": 7} | fields
    return GenerationRequest(**given)


def _pieces(
    demo: Predictor, request: GenerationRequest, form: StreamForm
) -> tuple[list[tuple[bytes, ...]], GenerationResult]:
    generation = demo.start(request, stream=form)
    pieces = [progress.audio for progress in generation if progress.audio]
    return pieces, generation.result()


def test_files_play_by_themselves_and_join_to_the_clip_to_the_sample(demo: Predictor) -> None:
    # Each file of 16 bits begins the dither anew.
    request = _request(normalization_strategy="none", variations=2, bit_depth="24")
    pieces, result = _pieces(demo, request, "files")
    assert len(pieces) > 1
    for row, clip in enumerate(result.clips):
        parts = [sf.read(io.BytesIO(piece[row]))[0] for piece in pieces]
        stored, _ = sf.read(clip.address)
        np.testing.assert_array_equal(np.concatenate(parts), stored)
        assert len(stored) == SAMPLES


def test_joined_pieces_are_one_wav(demo: Predictor) -> None:
    pieces, result = _pieces(demo, _request(normalization_strategy="none"), "joined")
    data = b"".join(piece[0] for piece in pieces)
    start = data.index(b"data") + 8
    assert data.count(b"RIFF") == 1
    stored, _ = sf.read(result.clips[0].address, dtype="int16")
    np.testing.assert_array_equal(np.frombuffer(data[start:], "<i2"), stored)


@pytest.mark.parametrize("form", ["joined", "files"])
def test_a_stream_has_the_bitrate_of_the_request(demo: Predictor, form: StreamForm) -> None:
    """It had 320 kbit/s whatever was asked: five times the data for a listener on a phone."""
    kilobits = {}
    for bitrate in (64, 320, None):
        request = _request(duration=4, output_format="mp3", bitrate=bitrate)
        pieces, _ = _pieces(demo, request, form)
        headers = [mutagen.mp3.MP3(io.BytesIO(piece[0])).info for piece in pieces[:1]]
        kilobits[bitrate] = headers[0].bitrate / 1000
        if form == "joined":
            size = sum(len(piece[0]) for piece in pieces)
            assert size * 8 / 4 / 1000 == pytest.approx(bitrate or 320, rel=0.1)
    assert kilobits == {64: 64, 320: 320, None: 320}


def test_the_stored_clip_is_normalized_and_the_result_says_that_the_stream_is_not(
    demo: Predictor,
) -> None:
    _, result = _pieces(demo, _request(), "joined")
    assert result.clips[0].loudness_lufs == pytest.approx(-14, abs=0.1)
    assert any("stream" in note for note in result.notes)
    assert not any("stream" in note for note in demo.generate(_request()).notes)


def test_a_format_that_cannot_be_streamed_is_refused_before_anything_is_decoded(
    demo: Predictor,
) -> None:
    with pytest.raises(errors.UnknownFormat, match="wav, mp3, ogg"):
        next(demo.start(_request(output_format="flac"), stream="joined"))


def test_cancelling_a_stream_leaves_nothing(demo: Predictor, tmp_path: Path) -> None:
    predictor = Predictor.load(Settings(threads=1, data_dir=tmp_path / "out"))
    generation = predictor.start(_request(duration=5), stream="joined")
    while not next(generation).audio:
        pass
    generation.cancel()
    with pytest.raises(errors.GenerationCancelled):
        generation.result()
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_an_answer_can_hold_the_clip_itself(demo: Predictor) -> None:
    whole = demo.generate(_request())
    inline = demo.start(_request(), delivery=Delivery(None)).result()
    data = Path(whole.clips[0].address).read_bytes()
    assert inline.clips[0].address.startswith("data:audio/wav;base64,")
    assert base64.b64decode(inline.clips[0].address.partition(",")[2]) == data
    assert inline.clips[0].sha256 == whole.clips[0].sha256


def test_what_may_not_fit_into_an_answer_is_refused_before_it_is_made(demo: Predictor) -> None:
    """Afterwards it would be lost."""
    request = _request(duration=30, bit_depth="float", variations=2)
    assert 30 * RATE * 4 * 2 > INLINE_MAX_BYTES
    with pytest.raises(errors.InlineTooLarge, match="MUSICGEN_BUCKET"):
        next(demo.start(request, delivery=Delivery(None)))
    next(demo.start(_request(duration=30), delivery=Delivery(None)))
