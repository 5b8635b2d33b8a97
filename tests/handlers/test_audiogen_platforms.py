"""AudioGen behind every platform: the same bytes of 16 kHz, and its name, licence and refusals."""

from __future__ import annotations

import asyncio
import base64
import io
from pathlib import Path

import pytest
import soundfile as sf

from handlers.cog_run import CogRun
from handlers.hf_endpoint import EndpointCalls
from handlers.runpod_job import RunPodJobs
from handlers.serving import Serving
from musicgen.predictor import Predictor
from musicgen.settings import Settings
from tests.support import audiogen
from tests.support.job_server import data_folder, job_server
from tests.support.runpod_jobs import make_job

LICENCE = "CC-BY-NC-4.0, base model Apache-2.0"
SHORT = {"prompt": audiogen.PROMPT, "duration": 0.5, "seed": 7}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy model under its published name."""
    converted = audiogen.convert_toy(tmp_path_factory.mktemp("model"))
    return converted.rename(converted.with_name("audiogen-medium"))


@pytest.fixture(scope="module")
def predictor(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("clips")
    return Predictor.load(Settings(model=str(model), threads=1, data_dir=folder))


def test_platforms_give_the_same_sound(predictor: Predictor, tmp_path: Path) -> None:
    run = CogRun(predictor, tmp_path, write_line=lambda line: None)
    path = asyncio.run(run.generate(SHORT, lambda name, value: None))
    settings = Settings(threads=1)
    job = make_job(**SHORT)
    by_runpod = asyncio.run(RunPodJobs(predictor, settings).handle(job))
    parameters = {name: value for name, value in SHORT.items() if name != "prompt"}
    by_endpoint = EndpointCalls(predictor, settings).handle(
        {"inputs": audiogen.PROMPT, "parameters": parameters}
    )
    assert isinstance(by_endpoint, dict)
    sounds = [Path(path).read_bytes()]
    for answer in (by_runpod, by_endpoint):
        assert (answer["model"], answer["licence"]) == ("audiogen-medium", LICENCE)
        sounds.append(base64.b64decode(answer["clips"][0]["audio"]))
    read = [sf.read(io.BytesIO(sound), dtype="int16") for sound in sounds]
    assert [rate for _, rate in read] == [audiogen.SAMPLE_RATE] * 3
    assert len({samples.tobytes() for samples, _ in read}) == 1


def test_one_server_keeps_it_beside_a_model_of_the_catalog(model: Path, tmp_path: Path) -> None:
    settings = Settings(model=str(model), threads=1, data_dir=tmp_path, models_kept=2)
    serving = Serving(Predictor.load(settings))
    for name, expected in ((None, "audiogen-medium"), ("demo", "demo"), (None, "audiogen-medium")):
        with serving.open_generation(SHORT | ({"model_version": name} if name else {})) as made:
            assert made.result().model == expected
    assert set(serving.models) == {"audiogen-medium", "demo"}


def test_the_job_api_serves_it(model: Path) -> None:
    with data_folder() as folder, job_server(folder, MUSICGEN_MODEL=model) as server:
        job = server.ended(server.submit(**SHORT))
        made = job["result"]
        assert (made["model"], made["licence"]) == ("audiogen-medium", LICENCE)
        sound = server.http.get(job["audio_url"]).content
        assert sf.info(io.BytesIO(sound)).samplerate == audiogen.SAMPLE_RATE
        models = {each["id"]: each for each in server.http.get("/v1/models").json()["data"]}
        found = models["audiogen-medium"]
        assert (found["follows"], found["owned_by"], found["loaded"]) == ("text", "meta", True)
        assert (found["licence"], found["memory_gb"]["int8"]) == (LICENCE, 4.1)
        refused = server.ended(server.submit(**SHORT, output_format="mp3", bitrate=320))
        assert "160" in str(refused["error"])
