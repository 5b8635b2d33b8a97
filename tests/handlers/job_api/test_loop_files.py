"""A loop made by the job API keeps its loop points and its tempo in every format it is had in."""

from __future__ import annotations

import io

import mutagen
import pytest
import soundfile as sf

from musicgen.audio.tags import read_tags
from musicgen.audio.tempo import Tempo
from musicgen.request.limits import OUTPUT_FORMATS
from tests.support.job_server import JobServer


@pytest.mark.parametrize("made", ["wav", "ogg"])
def test_conversions_keep_the_loop(server: JobServer, made: str) -> None:
    job_id = server.submit(duration=2, loop=True, bpm=120, output_format=made, seed=3)
    server.ended(job_id)
    for extension in OUTPUT_FORMATS:
        data = server.http.get(f"/audio/{job_id}.{extension}").content
        tags = read_tags(data)
        assert tags is not None
        assert tags.tempo == Tempo(120, 4, True)
        assert tags.prompt.endswith("120 bpm")
        samples, rate = sf.read(io.BytesIO(data))
        assert len(samples) == 2 * rate
        if extension == "wav":
            assert b"smpl" in data[-2000:]
            assert b"acid" in data[-2000:]
        elif extension == "mp3":
            assert mutagen.File(io.BytesIO(data)).tags["TBPM"].text == ["120"]
        else:
            comments = mutagen.File(io.BytesIO(data)).tags
            assert comments["looplength"] == [str(2 * rate)]
            assert comments["bpm"] == ["120"]


def test_a_tempo_without_a_loop_is_tempo_only(server: JobServer) -> None:
    job_id = server.submit(duration=1, bpm=97.5, output_format="flac")
    server.ended(job_id)
    comments = mutagen.File(io.BytesIO(server.http.get(f"/audio/{job_id}.flac").content)).tags
    assert comments["bpm"] == ["97.5"]
    assert "loopstart" not in comments
