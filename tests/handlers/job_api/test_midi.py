"""The notes of a clip, from the job API: made once, listed where the server can make them."""

from __future__ import annotations

import io
from pathlib import Path

import mido
import pytest

from handlers.job_api.store.files import JobFiles, StoredClip
from handlers.job_api.store.status import _build_result
from musicgen.errors import MissingDependency
from musicgen.midi import packages
from musicgen_client import MusicGenClient
from tests.support.job_server import JobServer

needs_model = pytest.mark.skipif(
    packages.find_missing() is not None, reason="basic-pitch's model is not installed"
)


@needs_model
def test_a_clip_is_had_as_midi(server: JobServer) -> None:
    status = server.ended(
        server.submit(prompt="slow high bells melody", duration=2, variations=2, bpm=75)
    )
    job_id = status["job_id"]
    urls = [clip["midi_url"] for clip in status["result"]["clips"]]
    assert urls == [f"/audio/{job_id}.mid", f"/audio/{job_id}-2.mid"]
    for url in urls:
        answer = server.http.get(url, params={"download": True})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "audio/midi"
        assert answer.headers["content-disposition"].endswith('.mid"')
        file = mido.MidiFile(file=io.BytesIO(answer.content))
        tempo = next(m.tempo for m in file.tracks[0] if m.type == "set_tempo")
        assert mido.tempo2bpm(tempo) == pytest.approx(75)
        again = server.http.get(url)
        assert again.content == answer.content
        assert again.headers["etag"] == answer.headers["etag"]
    with MusicGenClient(server.url) as client:
        assert client.audio(job_id, "mid") == server.http.get(urls[0]).content
    assert server.http.head(urls[0]).headers["content-length"] != "0"
    assert server.http.get(f"/audio/{job_id}-3.mid").status_code == 404
    assert server.http.get(f"/audio/{job_id}.midi").status_code == 404


def test_without_the_packages_no_clip_lists_midi_and_the_call_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "_find_missing_package", lambda: "onnxruntime")
    result = _build_result({"clips": [{"bytes": 1}]}, ["/audio/a.wav"])
    assert result["clips"][0]["midi_url"] is None
    with pytest.raises(MissingDependency, match="onnxruntime"):
        JobFiles(tmp_path).convert_clip(StoredClip("a", 1, "wav", ""), "mid")
