"""ElevenLabs' own Python package makes music on this server, with a key in its own header."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
import soundfile as sf
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError

from tests.support.job_server import JobServer, create_key, data_folder, job_server

PROMPT = "slow calm piano"


@pytest.fixture(scope="module")
def guarded() -> Iterator[JobServer]:
    """A server that needs keys, and has one worker."""
    with data_folder() as folder, job_server(folder, MUSICGEN_API_AUTH="on") as running:
        yield running


@pytest.fixture(scope="module")
def caller(guarded: JobServer) -> ElevenLabs:
    return ElevenLabs(base_url=guarded.url, api_key=create_key(guarded, "eleven"))


def test_compose_answers_the_clip(caller: ElevenLabs) -> None:
    sound = b"".join(caller.music.compose(prompt=PROMPT, music_length_ms=500, seed=3))
    info = sf.info(io.BytesIO(sound))
    assert (info.format, info.samplerate) == ("MP3", 44_100)
    assert info.duration == pytest.approx(0.5, abs=0.1)
    again = caller.music.compose(
        prompt=PROMPT,
        music_length_ms=500,
        seed=3,
        model_id="music_v1",
        force_instrumental=True,
        output_format="mp3_44100_128",
    )
    assert b"".join(again) == sound


def test_stream_sends_the_clip(caller: ElevenLabs) -> None:
    sound = b"".join(caller.music.stream(prompt=PROMPT, music_length_ms=700))
    assert sf.info(io.BytesIO(sound)).duration == pytest.approx(0.7, abs=0.15)


def test_mistakes_are_told(caller: ElevenLabs, guarded: JobServer) -> None:
    for fields, field in (
        ({"music_length_ms": 5}, "music_length_ms"),
        ({"output_format": "pcm_44100"}, "output_format"),
        ({"store_for_inpainting": True}, "store_for_inpainting"),
    ):
        with pytest.raises(ApiError) as caught:
            list(caller.music.compose(prompt=PROMPT, **fields))  # type: ignore[arg-type]
        assert caught.value.status_code == 400
        assert caught.value.body["error"]["field"] == field
    wrong = ElevenLabs(base_url=guarded.url, api_key="mg_00000000_" + 43 * "x")
    with pytest.raises(ApiError) as caught:
        list(wrong.music.compose(prompt=PROMPT))
    assert caught.value.status_code == 401
