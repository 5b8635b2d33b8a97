"""The laid-out repository behind Hugging Face's own emulator: what callers over HTTP meet."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from infra.huggingface.card import EXAMPLE
from infra.huggingface.layout import lay_out
from musicgen.predictor import Predictor
from musicgen.request import GenerationRequest
from musicgen.settings import Delivery, Settings
from tests.support.hf_emulator import Endpoint, emulator_folder, hf_endpoint

EMULATOR = emulator_folder()
VERSION = "0.0.0+laid.out"
pytestmark = pytest.mark.skipif(
    EMULATOR is None,
    reason="hf-endpoints-emulator is not installed: make .venv/hf-emulator/installed",
)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    assert EMULATOR is not None
    folder = tmp_path_factory.mktemp("endpoint")
    repository = folder / "repository"
    lay_out("demo", repository)
    # Told by the clip's tags: proves that the server runs this copy and not the checkout.
    (repository / "musicgen" / "__init__.py").write_text(f'__version__ = "{VERSION}"\n')
    with hf_endpoint(EMULATOR, repository, folder / "log") as running:
        yield running


def _sound(clip: dict[str, Any]) -> bytes:
    assert "url" not in clip
    data = base64.b64decode(clip["audio"], validate=True)
    assert hashlib.sha256(data).hexdigest() == clip["sha256"]
    return data


def _wav(seconds: float) -> bytes:
    rate = 16000
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    file = io.BytesIO()
    soundfile.write(file, tone, rate, format="WAV")
    return file.getvalue()


def test_a_text_is_a_prompt(endpoint: Endpoint) -> None:
    reply = endpoint.succeed("calm piano")
    [clip] = reply["clips"]
    with soundfile.SoundFile(io.BytesIO(_sound(clip))) as file:
        assert file.frames == clip["samples"] == 8000
        assert file.samplerate == clip["sampling_rate"] == 32000
        assert VERSION in file.software
    assert clip["content_type"] == "audio/wav"
    assert (reply["prompt"], reply["seed"], clip["seed"]) == ("calm piano", 7, 7)


def test_the_checkpoint_of_the_repository_is_the_model(endpoint: Endpoint) -> None:
    """Otherwise the demo inside the package would be loaded in place of what was uploaded."""
    reply = endpoint.succeed("x")
    assert reply["model"] == endpoint.repository.name
    assert reply["licence"] == "Apache-2.0"


def test_the_bytes_are_those_of_the_predictor(endpoint: Endpoint) -> None:
    """All platforms give the same for the same seed."""
    [clip] = endpoint.succeed("x", bit_depth="float", output_format="flac")["clips"]
    predictor = Predictor.load(Settings(threads=1))
    fields = {"prompt": "x", "duration": 0.25, "seed": 7, "output_format": "flac"}
    request = GenerationRequest.from_mapping(fields | {"bit_depth": "float"})
    address = predictor.start(request, delivery=Delivery(None)).result().clips[0].address
    ours, _ = soundfile.read(io.BytesIO(base64.b64decode(address.partition(",")[2])))
    theirs, _ = soundfile.read(io.BytesIO(_sound(clip)))
    assert np.array_equal(ours, theirs)


def test_a_list_is_answered_by_a_list_in_order(endpoint: Endpoint) -> None:
    inputs = ["one", {"prompt": "two", "variations": 2}]
    first, second = endpoint.succeed(inputs)
    assert (first["prompt"], second["prompt"]) == ("one", "two")
    assert [clip["seed"] for clip in second["clips"]] == [7, 8]
    assert first["clips"] == endpoint.succeed("one")["clips"]


def test_input_audio_inside_the_call_is_continued(endpoint: Endpoint) -> None:
    audio = f"data:audio/wav;base64,{base64.b64encode(_wav(0.2)).decode()}"
    fields = {"input_audio": audio, "continuation": True}
    assert _sound(endpoint.succeed("x", **fields)["clips"][0]) != _sound(
        endpoint.succeed("x")["clips"][0]
    )


def test_a_raw_audio_body_is_the_input_audio(endpoint: Endpoint) -> None:
    """The demo follows no melody: that it says so shows that the body was read as one."""
    headers = {"Content-Type": "audio/wav"}
    text = endpoint.fail(endpoint.client.post("/", content=_wav(0.2), headers=headers))
    assert re.match(r"invalid_input_audio: .*melody", text)
    text = endpoint.fail(endpoint.client.post("/", content=b"no sound", headers=headers))
    assert text.startswith("invalid_input_audio: ")


@pytest.mark.parametrize(
    ("inputs", "parameters", "code"),
    [
        ("", {}, "empty_prompt"),
        ("x" * 2001, {}, "prompt_too_long"),
        ("x", {"duration": 301}, "invalid_duration"),
        ("x", {"durations": 1}, "unknown_field"),
        ("x", {"output_format": "aiff"}, "unknown_format"),
        ("x", {"model_version": "huge"}, "unknown_model"),
        ("x", {"input_audio": "http://127.0.0.1:9/a.wav"}, "input_audio_refused"),
        ("x", {"duration": 30, "variations": 8}, "inline_too_large"),
        (["x", ""], {}, "empty_prompt"),
        (5, {}, "invalid_request"),
    ],
)
def test_an_error_is_its_code_and_a_text(
    endpoint: Endpoint, inputs: object, parameters: dict[str, Any], code: str
) -> None:
    text = endpoint.fail(endpoint.call(inputs, **parameters))
    assert text.startswith(f"{code}: ")


def test_calls_are_taken_one_at_a_time(endpoint: Endpoint) -> None:
    alone = endpoint.succeed("x")["clips"]
    with ThreadPoolExecutor(3) as callers:
        together = list(callers.map(lambda _: endpoint.succeed("x")["clips"], range(3)))
    assert together == [alone] * 3


def test_it_is_healthy_after_calls_that_failed(endpoint: Endpoint) -> None:
    endpoint.fail(endpoint.call(""))
    assert endpoint.client.get("/health").text == "Ok"
    assert "Traceback" not in endpoint.log.read_text()


def test_the_example_of_the_card_runs(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    example = EXAMPLE.replace('"duration": 8', '"duration": 0.25')
    example = example.replace(
        "https://YOUR-ENDPOINT.endpoints.huggingface.cloud", str(endpoint.client.base_url)
    )
    assert example.count("127.0.0.1") == example.count("0.25") == 1
    exec(compile(example, "the card's example", "exec"), {})
    assert soundfile.info("clip.mp3").samplerate == 32000


@pytest.mark.parametrize("body", [5, None, True, "piano", [], [1], {"inputs": [[1]]}], ids=repr)
def test_a_body_of_another_shape_is_refused(endpoint: Endpoint, body: object) -> None:
    error = endpoint.fail(endpoint.client.post("/", json=body))
    assert "internal_error" not in error
