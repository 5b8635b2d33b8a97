"""MusicGen-Style behind every platform: the same music, its licence, and its refusals."""

from __future__ import annotations

import asyncio
import base64
import io
from pathlib import Path
from typing import Any

import pytest
import soundfile as sf

from handlers.cog_run import CogRun
from handlers.hf_endpoint import EndpointCalls
from handlers.runpod_job import RunPodJobs
from musicgen.predictor import Predictor
from musicgen.settings import Settings
from tests.support import audiocraft as toy
from tests.support import style
from tests.support.job_server import data_folder, job_server
from tests.support.runpod_jobs import make_job

FIELDS: dict[str, Any] = {
    "duration": 0.5,
    "seed": 7,
    "style_seconds": 2.0,
    "style_detail": 2,
    "text_guidance": 4.0,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy model under its published name."""
    converted = style.convert_toy(tmp_path_factory.mktemp("model"))
    return converted.rename(converted.with_name("musicgen-style"))


@pytest.fixture(scope="module")
def sound() -> bytes:
    """A recording as a wav file."""
    memory = io.BytesIO()
    sf.write(memory, style.draw_recording(), style.SAMPLE_RATE, format="WAV")
    return memory.getvalue()


def test_platforms_give_the_same_music(
    model: Path, sound: bytes, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = Settings(
        model=str(model), threads=1, data_dir=tmp_path_factory.mktemp("clips"), precision="float32"
    )
    predictor = Predictor.load(settings)
    encoded = base64.b64encode(sound).decode()
    run = CogRun(predictor, tmp_path, write_line=lambda line: None)
    asked = FIELDS | {"prompt": toy.PROMPT, "input_audio": encoded}
    by_cog = asyncio.run(run.generate(asked, lambda name, value: None))
    job = make_job(prompt=toy.PROMPT, input_audio=encoded, **FIELDS)
    by_runpod = asyncio.run(RunPodJobs(predictor, settings).handle(job))
    by_endpoint = EndpointCalls(predictor, settings).handle(
        {"inputs": toy.PROMPT, "parameters": FIELDS | {"input_audio": encoded}}
    )
    assert isinstance(by_endpoint, dict)
    sounds = [Path(by_cog).read_bytes()]
    for answer in (by_runpod, by_endpoint):
        assert answer["model"] == "musicgen-style" and "CC-BY-NC-4.0" in answer["licence"]
        sounds.append(base64.b64decode(answer["clips"][0]["audio"]))
    read = [sf.read(io.BytesIO(each), dtype="int16")[0] for each in sounds]
    assert len({samples.tobytes() for samples in read}) == 1


def test_the_job_api_serves_it(model: Path, sound: bytes) -> None:
    with data_folder() as folder, job_server(folder, MUSICGEN_MODEL=model) as server:
        encoded = base64.b64encode(sound).decode()
        job = server.ended(server.submit(prompt="", input_audio=encoded, duration=0.5, seed=1))
        assert job["status"] == "completed", job
        made = job["result"]
        assert made["model"] == "musicgen-style" and "CC-BY-NC-4.0" in made["licence"]
        models = {each["id"]: each for each in server.http.get("/v1/models").json()["data"]}
        assert models["musicgen-style"]["follows"] == "text and style"
        refused = server.http.post("/v1/generate", json={"prompt": "x", "style_detail": 2})
        assert refused.status_code == 422 and "needs input_audio" in refused.text
