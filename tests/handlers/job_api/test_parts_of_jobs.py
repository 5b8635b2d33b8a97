"""Stems and notes that a worker makes with a clip: stored, listed, sent, packed and deleted."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile as sf
from mcp_types import ResourceLink

from musicgen.midi import packages
from musicgen_client import MusicGenClient
from tests.support.agents import fields, on_stdio, run, text
from tests.support.bucket_settings import bucket_settings
from tests.support.job_server import JobServer, data_folder, job_server
from tests.support.onnx_stems import write_model
from tests.support.seaweedfs import BUCKET, SeaweedFS, seaweedfs

STEMS = ["drums", "bass", "other", "vocals"]
PARTS = [*STEMS, "midi"]
pytestmark = pytest.mark.skipif(
    packages.find_missing() is not None, reason="basic-pitch's model is not installed"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    return write_model(folder / "bands.onnx")


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    with seaweedfs(tmp_path_factory.mktemp("weed")) as running:
        yield running


@pytest.fixture(scope="module", params=["folder", "bucket"])
def api(request: pytest.FixtureRequest, model: Path) -> Iterator[JobServer]:
    settings: dict[str, object] = {"MUSICGEN_SEPARATION": model}
    if request.param == "bucket":
        settings |= bucket_settings(request.getfixturevalue("bucket"))
    with data_folder() as folder, job_server(folder, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def done(api: JobServer) -> dict[str, Any]:
    fields = {"prompt": "slow high bells", "duration": 1, "variations": 2, "seed": 7, "bpm": 75}
    return api.ended(api.submit(**fields, output_format="flac", stems=True, midi=True))


def test_the_status_lists_each_part_with_its_address(api: JobServer, done: dict[str, Any]) -> None:
    job_id = done["job_id"]
    for base, clip in zip((job_id, f"{job_id}-2"), done["result"]["clips"], strict=True):
        assert [part["name"] for part in clip["parts"]] == PARTS
        urls = [f"/audio/{base}-{stem}.flac" for stem in STEMS] + [f"/audio/{base}.mid"]
        assert [part["url"] for part in clip["parts"]] == urls
        assert clip["midi_url"] == urls[-1]
        for part in clip["parts"]:
            answer = api.http.get(part["url"], params={"download": True})
            assert answer.status_code == 200, answer.text
            assert hashlib.sha256(answer.content).hexdigest() == part["sha256"]
            assert answer.headers["content-type"] == part["content_type"]
            assert api.http.head(part["url"]).headers["content-length"] == str(part["bytes"])
            end = api.http.get(part["url"], headers={"Range": "bytes=-10"})
            assert (end.status_code, end.content) == (206, answer.content[-10:])
    name = answer.headers["content-disposition"]
    assert name == 'attachment; filename="slow-high-bells-75-bpm-8.mid"'
    drums = api.http.get(urls[0]).headers["content-disposition"]
    assert drums == 'inline; filename="slow-high-bells-75-bpm-8-drums.flac"'


def test_a_stem_is_converted_as_a_clip_is(api: JobServer, done: dict[str, Any]) -> None:
    url = done["result"]["clips"][1]["parts"][1]["url"].replace(".flac", ".wav")
    answer = api.http.get(url)
    assert sf.info(io.BytesIO(answer.content)).format == "WAV"
    own = api.http.get(url.replace("-bass.wav", ".wav"))
    assert own.status_code == 200 and own.content != answer.content


def test_unknown_parts_are_not_found(api: JobServer, done: dict[str, Any]) -> None:
    job_id = done["job_id"]
    for name in (f"{job_id}-piano.flac", f"{job_id}-3-drums.flac", f"{job_id}-midi.flac"):
        assert api.http.get(f"/audio/{name}").status_code == 404, name
    plain = api.ended(api.submit(prompt="x", duration=0.2))
    assert plain["result"]["clips"][0]["parts"] == []
    assert api.http.get(f"/audio/{plain['job_id']}-drums.wav").status_code == 404


def test_the_client_saves_the_parts_beside_the_clips(
    api: JobServer, done: dict[str, Any], tmp_path: Path
) -> None:
    with MusicGenClient(api.url) as client:
        job = client.status(done["job_id"])
        assert [part.name for part in job.clips[0].parts] == PARTS
        drums = job.clips[0].parts[0]
        assert hashlib.sha256(client.audio(drums)).hexdigest() == drums.sha256
        paths = client.save(job, tmp_path / "music.mp3", "mp3")
    ends = [".mp3", *(f"-{stem}.mp3" for stem in STEMS), ".mid"]
    assert [path.name for path in paths] == [f"music-{n}{end}" for n in (1, 2) for end in ends]
    assert sf.info(paths[1]).format == "MP3"


def test_a_zip_holds_the_parts(api: JobServer, done: dict[str, Any]) -> None:
    answer = api.http.get("/v1/jobs/zip", params={"id": [done["job_id"]]})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
    ends = [".flac", *(f"-{stem}.flac" for stem in STEMS), ".mid"]
    assert names == [f"slow-high-bells-75-bpm-{seed}{end}" for seed in (7, 8) for end in ends]


def test_a_deleted_job_leaves_no_part(
    api: JobServer, request: pytest.FixtureRequest, done: dict[str, Any]
) -> None:
    job_id = done["job_id"]
    is_in_bucket = "bucket" in request.node.name

    def list_files() -> list[str]:
        if not is_in_bucket:
            return [str(path) for path in api.folder.rglob("*") if job_id in str(path)]
        admin = request.getfixturevalue("bucket").client()
        listed = admin.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return [entry["Key"] for entry in listed if job_id in entry["Key"]]

    stored = list_files()
    assert len([name for name in stored if name.endswith((".flac", ".mid"))]) == 2 * (
        1 + len(PARTS)
    )
    assert api.http.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert list_files() == []


def test_an_agent_gets_and_saves_the_parts(api: JobServer, tmp_path: Path) -> None:
    async def work() -> None:
        async with on_stdio(api.url, "--folder", str(tmp_path)) as agent:
            asked = {"prompt": "bells", "duration": 1, "options": {"stems": True, "midi": True}}
            made = await agent.call_tool("generate_music", asked)
        clip = fields(made)["clips"][0]
        assert [part["name"] for part in clip["parts"]] == PARTS
        links = {part.uri for part in made.content if isinstance(part, ResourceLink)}
        for part in clip["parts"]:
            assert part["url"] in links and part["url"] in text(made)
            assert api.http.get(part["url"]).content == Path(part["file"]).read_bytes()

    run(work)
