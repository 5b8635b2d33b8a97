"""Clips of every platform's path are signed, and hold for c2pa's reader where they arrive."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from handlers.cli.main import main
from handlers.cog_run import CogRun
from handlers.hf_endpoint import EndpointCalls
from handlers.job_api.store.conversion import convert
from handlers.runpod_job import RunPodJobs
from musicgen.audio.marking import GENERATED
from musicgen.credentials.claim import MIXED
from musicgen.credentials.signing import ContentSigner
from musicgen.errors import MissingDependency, SettingsError
from musicgen.predictor import Predictor
from musicgen.predictor.sealing import STREAM_UNSIGNED, UNSUPPORTED
from musicgen.request import GenerationRequest
from musicgen.settings import BucketSettings, Settings
from tests.support.commands import run_command
from tests.support.job_server import data_folder, environment, free_port, job_server
from tests.support.runpod_jobs import make_job
from tests.support.s3_server import s3_server
from tests.support.signing_keys import SigningKeys, make_keys

SHORT = {"prompt": "a piano", "duration": 0.2, "seed": 7}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> SigningKeys:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def predictor(keys: SigningKeys, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("clips")
    return Predictor.load(Settings(threads=1, data_dir=folder, credentials=keys.settings))


@pytest.fixture(scope="module")
def bucket_env() -> Iterator[dict[str, str]]:
    with s3_server() as bucket:
        yield bucket.env


def _check(keys: SigningKeys, data: bytes) -> None:
    report = keys.read(data)
    assert (report.state, report.problems) == ("trusted", ())
    assert report.source_types == (GENERATED,)
    assert report.licence == "Apache-2.0 (licence of the model's weights)"
    changed = bytearray(data)
    changed[-9] ^= 1
    assert keys.read(bytes(changed)).state == "invalid"
    assert not any(line.encode() in data for line in keys.secrets)


@pytest.mark.parametrize("output_format", ["wav", "flac", "mp3"])
def test_cog_s_clips_are_signed(
    predictor: Predictor, keys: SigningKeys, output_format: str, tmp_path: Path
) -> None:
    run = CogRun(predictor, tmp_path, write_line=lambda line: None)
    arguments = SHORT | {"output_format": output_format}
    path = asyncio.run(run.generate(arguments, lambda name, value: None))
    _check(keys, Path(path).read_bytes())


def test_runpod_s_clips_are_signed(predictor: Predictor, keys: SigningKeys) -> None:
    jobs = RunPodJobs(predictor, Settings(threads=1))
    answer = asyncio.run(jobs.handle(make_job(output_format="flac", variations=2)))
    for clip in answer["clips"]:
        _check(keys, base64.b64decode(clip["audio"]))


def test_hugging_face_s_clips_are_signed(predictor: Predictor, keys: SigningKeys) -> None:
    calls = EndpointCalls(predictor, Settings(threads=1))
    answer = calls.handle({"inputs": "a piano", "parameters": {"duration": 0.2}})
    assert isinstance(answer, dict)
    _check(keys, base64.b64decode(answer["clips"][0]["audio"]))


def test_a_clip_from_a_bucket_is_as_it_was_signed(
    keys: SigningKeys, bucket_env: dict[str, str], tmp_path: Path
) -> None:
    settings = Settings(
        threads=1,
        spool_dir=tmp_path,
        bucket=BucketSettings.from_env(bucket_env),
        credentials=keys.settings,
    )
    result = Predictor.load(settings).generate(GenerationRequest.from_mapping(SHORT))
    data = httpx.get(result.clips[0].address).content
    assert len(data) == result.clips[0].bytes
    _check(keys, data)


def test_jobs_of_the_api_are_signed_and_continued(
    keys: SigningKeys, bucket_env: dict[str, str]
) -> None:
    """Downloaded through the API, in ranges too; a job continues the clip of another one."""
    with (
        data_folder() as folder,
        job_server(folder, **keys.env, **bucket_env) as server,
    ):
        job = server.ended(server.submit(output_format="flac", duration=0.5, seed=3))
        address = job["audio_url"]
        data = server.http.get(address).content
        _check(keys, data)
        halves = ["bytes=0-999", "bytes=1000-"]
        parts = [server.http.get(address, headers={"Range": half}).content for half in halves]
        assert b"".join(parts) == data
        for extension in ("wav", "mp3"):
            converted = server.http.get(address.replace(".flac", f".{extension}")).content
            _check(keys, converted)
            kept = keys.read(converted).ingredients
            assert [item["has_credentials"] for item in kept] == [True], kept
        assert keys.read(server.http.get(address.replace(".flac", ".ogg")).content).state == "none"
        encoded = f"data:audio/flac;base64,{base64.b64encode(data).decode()}"
        more = {"input_audio": encoded, "continuation": True, "duration": 1.0}
        job = server.ended(server.submit(output_format="mp3", **more))
        continued = server.http.get(job["audio_url"]).content
        report = keys.read(continued)
        assert report.state == "trusted"
        assert [item["has_credentials"] for item in report.ingredients] == [True]
        assert not any(line in server.log for line in keys.secrets)


def test_a_conversion_of_an_unsigned_clip_is_signed_too(keys: SigningKeys, tmp_path: Path) -> None:
    """An ogg cannot have credentials; its tags say what made it."""
    signer = ContentSigner(keys.settings)
    request = GenerationRequest.from_mapping(SHORT | {"output_format": "ogg"})
    made = Predictor.load(Settings(threads=1, data_dir=tmp_path)).generate(request)
    ogg = Path(made.clips[0].address)
    _check(keys, convert(ogg, "flac", signer))
    mixed = keys.read(convert(ogg, "flac", signer, has_other_beginning=True))
    assert (mixed.state, mixed.source_types) == ("trusted", (MIXED,))
    assert keys.read(convert(ogg, "flac")).state == "none"


@pytest.mark.parametrize("output_format", ["ogg", "opus"])
def test_formats_that_cannot_be_signed_say_so(predictor: Predictor, output_format: str) -> None:
    request = GenerationRequest.from_mapping(SHORT | {"output_format": output_format})
    result = predictor.generate(request)
    assert UNSUPPORTED in result.notes


def test_a_stream_says_that_only_its_stored_clip_is_signed(
    predictor: Predictor, keys: SigningKeys
) -> None:
    generation = predictor.start(GenerationRequest.from_mapping(SHORT), stream="joined")
    live = b"".join(progress.audio[0] for progress in generation if progress.audio)
    assert keys.read(live).state == "none"
    result = generation.result()
    assert STREAM_UNSIGNED in result.notes
    _check(keys, Path(result.clips[0].address).read_bytes())


def test_without_a_key_equal_seeds_give_equal_bytes(tmp_path: Path) -> None:
    settings = Settings(threads=1, data_dir=tmp_path)
    predictor = Predictor.load(settings)
    request = GenerationRequest.from_mapping(SHORT)
    first, second = (predictor.generate(request).clips[0].sha256 for _ in range(2))
    assert first == second


def test_a_wrong_key_stops_the_start(keys: SigningKeys, tmp_path: Path) -> None:
    other = make_keys(tmp_path)
    wrong = keys.env | {"MUSICGEN_CREDENTIALS_CERTIFICATE_FILE": str(other.chain)}
    with pytest.raises(SettingsError, match="is not the key of the first certificate"):
        Predictor.load(Settings.from_env(wrong))
    env = environment(tmp_path, **wrong)
    for command in (["serve", "worker"], ["generate", "x", "-o", str(tmp_path / "x.wav")]):
        ended = run_command(command, {**env, "DATABASE_URL": "postgresql://127.0.0.1:1/none"})
        assert ended.status == 78, ended
        assert "MUSICGEN_CREDENTIALS_KEY_FILE is not the key of" in ended.text
        assert not any(line in ended.text for line in keys.secrets)


def test_without_the_extra_the_start_names_it(
    keys: SigningKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musicgen.credentials.library.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"\.\[credentials\]"):
        Predictor.load(Settings(credentials=keys.settings))


def test_doctor_names_the_signer(keys: SigningKeys, tmp_path: Path) -> None:
    env = environment(tmp_path / "data", **keys.env)
    ended = run_command(["doctor", "--json", "--port", str(free_port())], env)
    found = [f for f in json.loads(ended.text) if f["check"] == "credentials"]
    assert [f["state"] for f in found] == ["ok", "warning"], found
    assert "MusicGen trial signer" in found[0]["text"]
    assert "nobody trusts it" in found[1]["text"]
    assert not any(line in ended.text for line in keys.secrets)


@pytest.mark.parametrize("content", [b"", b"no certificate", b"\xff\x00", None])
def test_inspect_refuses_a_wrong_trust_file(content: bytes | None, tmp_path: Path) -> None:
    clip, trust = tmp_path / "clip.wav", tmp_path / "trust.pem"
    clip.write_bytes(b"RIFF")
    if content is not None:
        trust.write_bytes(content)
    ended = run_command(["inspect", str(clip), "--trust", str(trust)], dict(os.environ))
    assert ended.status == 2
    problem = "is not an existing file" if content is None else "holds no certificates in PEM"
    assert f"musicgen: --trust {problem}" in ended.text
    assert "Traceback" not in ended.text


def test_inspect_verifies_a_file(keys: SigningKeys, tmp_path: Path) -> None:
    """Made by `musicgen generate` with a key of `musicgen credentials new`."""
    env = {**os.environ, **environment(tmp_path)}
    folder, clip = tmp_path / "trial", tmp_path / "clip.flac"
    assert run_command(["credentials", "new", str(folder)], env).status == 0
    own = SigningKeys(folder / "signing.key", folder / "signing.pem", folder / "trial-root.pem")
    words = ["generate", "a piano", "--duration", "0.2", "--seed", "7", "-o", str(clip)]
    assert run_command(words, env | own.env).status == 0
    look = ["inspect", str(clip), "--json", "--require", "--trust", str(own.root)]
    ended = run_command(look, env)
    found = json.loads(ended.text)
    assert (ended.status, found["credentials"]["state"]) == (0, "trusted")
    assert found["tags"]["seed"] == 7 and found["digital_source_type"] == GENERATED
    ended = run_command([*look[:-1], str(keys.root)], env)
    assert (ended.status, json.loads(ended.text)["credentials"]["state"]) == (1, "valid")
    ended = run_command([*look[:-1], str(clip)], env)
    assert ended.status != 0 and "--trust" in ended.text and "no certificates" in ended.text
    ended = run_command(["credentials", "new", str(folder)], env)
    assert ended.status != 0 and "nothing is overwritten" in ended.text
    assert own.key.read_bytes().startswith(b"-----BEGIN"), "the first key is kept"
    data = bytearray(clip.read_bytes())
    data[-9] ^= 1
    clip.write_bytes(data)
    ended = run_command(["inspect", str(clip)], env)
    assert ended.status == 1 and "DO NOT HOLD" in ended.text


def test_only_a_signed_file_needs_the_library(
    keys: SigningKeys,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Guards `musicgen inspect` of a plain clip on an installation without c2pa."""
    clips = {}
    for name, env in (("plain", {}), ("signed", keys.env)):
        clips[name] = str(tmp_path / f"{name}.wav")
        words = ["generate", "piano", "--duration", "0.2", "-o", clips[name]]
        assert run_command(words, {**os.environ, **environment(tmp_path), **env}).status == 0
    monkeypatch.setattr("musicgen.credentials.library.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "c2pa", None)
    assert main(["inspect", clips["plain"], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tags"]["prompt"] == "piano" and found["credentials"]["state"] == "none"
    for words in ([clips["signed"]], [clips["plain"], "--require"]):
        assert main(["inspect", *words]) == 78
        assert "pip install -e '.[credentials]'" in capsys.readouterr().err
