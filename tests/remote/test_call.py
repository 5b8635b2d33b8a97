"""`musicgen call` against every platform's own software: one request, the same bytes from all."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile as sf

from handlers.cli import main as cli
from musicgen.errors import RemoteError
from musicgen.predictor import Predictor
from musicgen.remote.factory import open_remote
from musicgen.remote.http_api import HttpApi
from musicgen.remote.runpod_endpoint import read_job_clips
from musicgen.request import GenerationRequest
from musicgen.settings import RemoteTokens, Settings
from tests.support.cog_server import Server
from tests.support.json_server import TOKEN
from tests.support.platform_apis import ReplicateApi, RunPodApi
from tests.support.runpod_queue import Queue, local_process, runpod_queue, runpod_worker

FIELDS = {"prompt": "slow calm piano", "duration": 0.3, "seed": 11, "temperature": 0.9}
OPTIONS = ["--duration", "0.3", "--seed", "11", "--temperature", "0.9"]
pytestmark = pytest.mark.usefixtures("platforms")
TOKENS = RemoteTokens(TOKEN, TOKEN, TOKEN)
NAMES = {"replicate": "me/music", "runpod": "ep1"}
DEADLINE = 60.0


@pytest.fixture(scope="module")
def runpod_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The SDK's own development server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = ["--rp_serve_api", "--rp_api_host", "127.0.0.1", "--rp_api_port", str(port)]
    with local_process(tmp_path_factory.mktemp("call-local"), address) as worker:
        url = f"http://127.0.0.1:{port}"
        end = time.monotonic() + DEADLINE
        while True:
            try:
                httpx.get(url)
                break
            except httpx.TransportError:
                assert time.monotonic() < end and worker.process.poll() is None
                time.sleep(0.05)
        yield url


@pytest.fixture(params=["replicate", "runpod", "hf", "cog container", "runpod container"])
def target(request: pytest.FixtureRequest) -> list[str]:
    """The options that name a deployment."""
    if request.param == "replicate":
        return ["--target", "replicate", "--name", "me/music"]
    if request.param == "runpod":
        return ["--target", "runpod", "--name", "ep1"]
    if request.param == "hf":
        return ["--target", "hf", "--name", request.getfixturevalue("hf")]
    if request.param == "cog container":
        cog: Server = request.getfixturevalue("cog")
        return ["--target", str(cog.client.base_url)]
    return ["--target", request.getfixturevalue("runpod_server")]


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What the predictor makes of the request without any platform."""
    predictor = Predictor.load(Settings(threads=1, data_dir=tmp_path_factory.mktemp("direct")))
    result = predictor.generate(GenerationRequest.from_mapping(FIELDS))
    return Path(result.clips[0].address).read_bytes()


def test_the_same_request_makes_the_same_bytes_everywhere(
    target: list[str], wanted: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "clip.wav"
    arguments = ["call", FIELDS["prompt"], *target, *OPTIONS, "-o", str(output)]
    assert cli.main([str(each) for each in arguments]) == 0
    assert output.read_bytes() == wanted
    assert "seed 11" in capsys.readouterr().out


def test_variations_are_the_next_seeds_everywhere(target: list[str], tmp_path: Path) -> None:
    """Also where a platform makes one clip of a request."""
    output = tmp_path / "clip.wav"
    options = ["--duration", "0.2", "--seed", "4294967295", "--variations", "2", "-o", str(output)]
    assert cli.main(["call", "x", *target, *options]) == 0
    first, second = (tmp_path / f"clip-{index}.wav" for index in (1, 2))
    for path, seed in ((first, "4294967295"), (second, "0")):
        again = tmp_path / f"again-{seed}.wav"
        one = ["--duration", "0.2", "--seed", seed, "-o", str(again)]
        assert cli.main(["call", "x", *target, *one]) == 0
        assert again.read_bytes() == path.read_bytes()


def test_a_file_is_sent_along(target: list[str], tmp_path: Path) -> None:
    """The continued clip begins with the codec's view of the one that was sent."""
    sent, output = tmp_path / "sent.wav", tmp_path / "clip.wav"
    time_axis = np.arange(16_000) / 32_000
    sf.write(sent, 0.5 * np.sin(2 * np.pi * 220 * time_axis), 32_000)
    options = ["--duration", "0.6", "--seed", "1", "--input-audio", str(sent), "--continuation"]
    assert cli.main(["call", "x", *target, *options, "-o", str(output)]) == 0
    assert len(sf.read(io.BytesIO(output.read_bytes()))[0]) == 19_200


def test_what_the_deployment_refuses_is_told_in_its_words(
    target: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo follows no melody: only the other side can know that."""
    sent, output = tmp_path / "sent.wav", tmp_path / "clip.wav"
    sf.write(sent, np.zeros(3200), 32_000)
    arguments = ["call", "x", *target, "--duration", "0.2", "--input-audio", str(sent)]
    assert cli.main([*arguments, "-o", str(output)]) == 1
    assert "invalid_input_audio: " in capsys.readouterr().err
    assert not output.exists()


def test_bad_input_is_refused_before_anybody_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["call", "x", "--target", "http://127.0.0.1:9", "--duration", "999"]) == 2
    assert "duration must be" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--target", "replicate"], "--name OWNER/MODEL"),
        (["--target", "runpod"], "--name ENDPOINT_ID"),
        (["--target", "hf", "--name", "music"], "the URL of the endpoint"),
        (["--target", "aws", "--name", "x"], "one of replicate, runpod, hf, or a URL"),
    ],
)
def test_a_target_that_cannot_be_meant_is_refused(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["call", "x", *arguments]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize("platform", ["replicate", "runpod"])
def test_a_token_is_needed_and_a_wrong_one_is_not_repeated(
    platform: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    variable = {"replicate": "REPLICATE_API_TOKEN", "runpod": "RUNPOD_API_KEY"}[platform]
    arguments = ["call", "x", "--target", platform, "--name", "me/music"]
    monkeypatch.setenv(variable, "")
    assert cli.main(arguments) == 78
    assert f"musicgen: {variable} must be set" in capsys.readouterr().err
    monkeypatch.setenv(variable, "not-the-token")
    assert cli.main(arguments) == 1
    told = capsys.readouterr().err
    assert "HTTP 401" in told and "not-the-token" not in told


def test_nobody_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    target = ["--target", "hf", "--name", "http://127.0.0.1:9"]
    assert cli.main(["call", "x", *target]) == 1
    assert "cannot reach http://127.0.0.1:9" in capsys.readouterr().err


@pytest.mark.parametrize("platform", ["replicate", "runpod"])
def test_interrupting_cancels_on_the_other_side(
    platform: str, replicate_api: ReplicateApi, runpod_api: RunPodApi
) -> None:
    """Otherwise the music that nobody waits for is paid for to its end."""
    api = {"replicate": replicate_api, "runpod": runpod_api}[platform]
    before = list(api.cancelled)

    def interrupt(_line: str) -> None:
        raise KeyboardInterrupt

    remote = open_remote(platform, NAMES[platform], TOKENS, DEADLINE)
    with pytest.raises(KeyboardInterrupt):
        remote.generate({"prompt": "x", "duration": 1.0, "seed": 1}, interrupt)
    assert len(api.cancelled) == len(before) + 1


def test_progress_of_a_job_is_told(cog: Server) -> None:
    """What RunPod shows in a job's status is what its handler said."""
    lines: list[str] = []
    remote = open_remote("runpod", "ep1", TOKENS, DEADLINE)
    (clip,) = remote.generate({"prompt": "x", "duration": 8.0, "seed": 1}, lines.append)
    assert clip.content_type == "audio/wav"
    assert lines and all(line.startswith(("in queue", "in progress")) for line in lines)


def test_a_streamed_job_is_joined(
    queue: Queue, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Without a bucket only the pieces have the sound."""
    folder = tmp_path_factory.mktemp("call-stream")
    with runpod_queue() as known, runpod_worker(known, folder, MUSICGEN_STREAM="1"):
        known.run("streamed", duration=1.0, variations=2)
        output = [post["output"] for post in known.of("streamed", "stream")]
        clips = read_job_clips(
            HttpApi("http://127.0.0.1:9", None, 1), {"status": "COMPLETED", "output": output}
        )
    assert [clip.seed for clip in clips] == [7, 8]
    assert [len(sf.read(io.BytesIO(clip.data))[0]) for clip in clips] == [32_000, 32_000]


def test_waiting_ends_at_the_deadline(queue: Queue) -> None:
    remote = open_remote("runpod", "ep1", TOKENS, 0.3)
    with pytest.raises(RemoteError, match="--timeout"):
        remote.generate({"prompt": "x", "duration": 30.0, "seed": 1}, lambda _: None)


def test_a_model_without_a_version_or_of_nobody_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["call", "x", "--target", "replicate", "--name", "me/nothing"]) == 1
    assert "HTTP 404: The requested resource could not be found." in capsys.readouterr().err
