"""Each call of the API through both clients, against the real server."""

from __future__ import annotations

import asyncio
import inspect
import io
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile as sf

from musicgen_client import (
    AsyncMusicGenClient,
    Conflict,
    GenerationFields,
    InvalidRequest,
    Job,
    JobCancelled,
    MusicGenClient,
    NotFound,
    WaitTimeout,
)
from tests.musicgen_client.conftest import GuardedServer
from tests.support.clips import tone_file, wav
from tests.support.job_server import JobServer

Ask = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, server: JobServer) -> Iterator[Ask]:
    """`ask("status", job_id)` calls one client or the other; an iterator comes as a list."""
    if request.param == "sync":
        with MusicGenClient(server.url) as client:

            def call(name: str, /, *values: Any, **fields: Any) -> Any:
                found = getattr(client, name)(*values, **fields)
                return list(found) if inspect.isgenerator(found) else found

            yield call
        return

    async def call_async(name: str, /, *values: Any, **fields: Any) -> Any:
        async with AsyncMusicGenClient(server.url) as client:
            found: Awaitable[Any] | AsyncIterator[Any]
            found = getattr(client, name)(*values, **fields)
            return [item async for item in found] if inspect.isasyncgen(found) else await found

    yield lambda name, /, *values, **fields: asyncio.run(call_async(name, *values, **fields))


def _read(sound: bytes) -> tuple[str, float]:
    with sf.SoundFile(io.BytesIO(sound)) as file:
        return str(file.format), file.frames / file.samplerate


def test_both_clients_have_the_same_methods() -> None:
    for name, method in inspect.getmembers(MusicGenClient, inspect.isfunction):
        if name.startswith("_"):
            continue
        other = inspect.signature(getattr(AsyncMusicGenClient, name))
        own = inspect.signature(method)
        assert other.parameters == own.parameters, name
        assert str(other.return_annotation) in (
            str(own.return_annotation),
            f"Async{own.return_annotation}",
        )


def test_one_call_answers_the_sound(ask: Ask) -> None:
    fields = {"prompt": "piano", "duration": 0.5, "seed": 3}
    whole = ask("make", **fields)
    assert _read(whole) == ("WAV", 0.5)
    assert ask("make", **fields) == whole
    assert _read(ask("make", **fields, output_format="flac")) == ("FLAC", 0.5)
    blocks = ask("make_live", **fields, output_format="mp3")
    assert _read(b"".join(blocks))[0] == "MP3"
    continued = ask("make", **fields, continuation=True, input_audio=wav(0.3))
    assert _read(continued) == ("WAV", pytest.approx(0.5, abs=0.4))
    with pytest.raises(InvalidRequest, match="variations"):
        ask("make", **fields, variations=2)
    with pytest.raises(InvalidRequest):
        ask("make_live", **fields, output_format="flac")


def test_a_job_and_its_clips(ask: Ask, tmp_path: Path) -> None:
    job = ask("generate", prompt="piano", duration=0.5, seed=3, variations=2)
    assert job == ask("status", job.id) and job.status == "completed" and job.is_final
    assert job.created_at <= job.started_at <= job.finished_at
    assert (job.made_by, job.model, job.licence) == ("local", "demo", "Apache-2.0")
    assert [clip.seed for clip in job.clips] == [3, 4]
    whole = ask("audio", job.clips[0])
    assert len(whole) == job.clips[0].bytes and _read(whole) == ("WAV", 0.5)
    assert ask("audio", job.clips[0], byte_range=(4, 11)) == whole[4:12]
    assert ask("audio", job.clips[0], byte_range=(100, None)) == whole[100:]
    assert ask("audio", f"{job.id}.wav") == whole
    assert _read(ask("audio", job.clips[1], "flac"))[0] == "FLAC"
    assert _read(ask("audio", f"{job.id}-2.flac"))[0] == "FLAC"
    (first, second) = ask("save", job, tmp_path / "a.mp3", "mp3")
    assert (first.name, second.name) == ("a-1.mp3", "a-2.mp3")
    assert _read(first.read_bytes())[0] == "MP3"
    with pytest.raises(InvalidRequest) as outside:
        ask("audio", job.clips[0], byte_range=(10**9, None))
    assert (outside.value.status, outside.value.code) == (416, "range_not_satisfiable")


def test_the_events_of_a_job(ask: Ask) -> None:
    job_id = ask("submit", prompt="piano", duration=4)
    states = ask("events", job_id)
    assert states[-1].status == "completed" and states[-1].clips
    assert all(isinstance(state, Job) for state in states)
    progress = [state.progress for state in states]
    assert progress == sorted(progress) and len(states) > 1
    (last,) = ask("events", job_id)
    assert last == states[-1]


def test_the_live_sound_of_a_job(ask: Ask) -> None:
    """From the queue on: the stream waits for its beginning."""
    job_id = ask("submit", prompt="piano", duration=4)
    sound = b"".join(ask("stream", job_id))
    assert sound[:4] == b"RIFF" and len(sound) > 4 * 32000
    again = b"".join(ask("stream", job_id))
    assert _read(again) == ("WAV", 4.0)
    with pytest.raises(NotFound):
        ask("stream", job_id, clip=2)


def test_the_clip_where_no_stream_is(ask: Ask) -> None:
    job_id = ask("submit", prompt="piano", duration=1, output_format="flac")
    sound = b"".join(ask("stream", job_id))
    assert sound == ask("audio", f"{job_id}.flac")
    job_id = ask("submit", prompt="piano", duration=100)
    assert ask("cancel", job_id).status == "cancelled"
    with pytest.raises(JobCancelled):
        ask("stream", job_id)


def test_all_jobs_by_pages(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(3):
        ask("generate", prompt="x", duration=0.1, seed=seed)
    monkeypatch.setattr("musicgen_client.sync_client.PAGE_ITEMS", 2)
    monkeypatch.setattr("musicgen_client.async_client.PAGE_ITEMS", 2)
    jobs = ask("jobs")
    assert [job.request["seed"] for job in jobs[:3]] == [2, 1, 0]
    assert len({job.id for job in jobs}) == len(jobs)
    page = ask("list_jobs", limit=2, status="completed")
    assert [job.id for job in page.jobs] == [job.id for job in jobs[:2]] and page.next
    assert all(job.status == "cancelled" for job in ask("jobs", status="cancelled"))
    with pytest.raises(InvalidRequest) as wrong:
        ask("list_jobs", limit=1000)
    assert wrong.value.field == "limit"


def test_uploads(ask: Ask, tmp_path: Path) -> None:
    path = tone_file(tmp_path / "a.wav", 1.0)
    upload = ask("upload", path)
    assert (upload.seconds, upload.bytes) == (1.0, path.stat().st_size)
    assert upload.input_audio == f"upload:{upload.id}"
    assert upload.expires_at > ask("upload", path.read_bytes()).expires_at.replace(year=2000)
    job = ask(
        "generate",
        prompt="x",
        input_audio=path.read_bytes(),
        continuation=True,
        duration=1.2,
    )
    assert job.request["input_audio"].startswith("upload:")
    with pytest.raises(InvalidRequest) as refused:
        ask("upload", b"no sound")
    assert refused.value.code == "invalid_input_audio"


def test_models(ask: Ask) -> None:
    found = ask("models")
    models = {model.id: model for model in found.models}
    assert found.default == "demo" and models["demo"].loaded
    assert models["medium"].licence == "CC-BY-NC-4.0"
    assert ask("model", "facebook/musicgen-medium") == models["medium"]
    with pytest.raises(NotFound):
        ask("model", "no such model")
    assert ask("load", "demo") == "loaded"
    with pytest.raises(NotFound):
        ask("load", "no such model")


def test_a_wait_ends_in_time(ask: Ask) -> None:
    job_id = ask("submit", prompt="x", duration=120)
    with pytest.raises(WaitTimeout, match=job_id):
        ask("wait", job_id, timeout=0.3)
    assert not ask("status", job_id).is_final
    assert ask("cancel", job_id).status == "cancelled"


def test_one_idempotency_key_is_one_job(ask: Ask) -> None:
    fields: GenerationFields = {"prompt": "x", "duration": 0.1, "seed": 1}
    key = f"once-{id(ask)}"
    first = ask("submit", idempotency_key=key, **fields)
    assert ask("generate", idempotency_key=key, **fields).id == first


def test_names_favourites_and_search(ask: Ask) -> None:
    job = ask("generate", prompt="harpsichord in the rain", duration=0.1)
    assert (job.name, job.favourite) == (None, False)
    named = ask("change", job.id, name="Rainy Tuesday")
    assert (named.name, named.favourite) == ("Rainy Tuesday", False)
    kept = ask("change", job.id, favourite=True)
    assert (kept.name, kept.favourite) == ("Rainy Tuesday", True)
    assert [found.id for found in ask("jobs", search="tues harpsi", favourite=True)] == [job.id]
    assert ask("list_jobs", search="no such word").jobs == ()
    assert ask("change", job.id, name="", favourite=False).name is None
    ask("delete", job.id)
    with pytest.raises(NotFound):
        ask("change", job.id, favourite=True)


def test_a_zip_of_clips(ask: Ask) -> None:
    jobs = [ask("generate", prompt=f"p{seed}", duration=0.1, seed=seed) for seed in range(2)]
    with zipfile.ZipFile(io.BytesIO(ask("zip", [job.id for job in jobs]))) as archive:
        assert len(archive.namelist()) == 2
        assert {_read(archive.read(name))[0] for name in archive.namelist()} == {"WAV"}


def test_deleting(ask: Ask) -> None:
    done, running = (
        ask("generate", prompt="x", duration=0.1),
        ask("submit", prompt="x", duration=90),
    )
    for job_id in (done.id, running):
        ask("delete", job_id)
        with pytest.raises(NotFound):
            ask("status", job_id)
        with pytest.raises(NotFound):
            ask("delete", job_id)
    upload = ask("upload", wav(0.5))
    assert upload.id in {stored.id for stored in ask("uploads")}
    ask("delete_upload", upload.id)
    assert upload.id not in {stored.id for stored in ask("uploads")}
    with pytest.raises(NotFound):
        ask("delete_upload", upload.id)


def test_deleting_all_of_a_key(guarded: GuardedServer) -> None:
    with MusicGenClient(guarded.server.url, guarded.create_key("leaves")) as client:
        upload = client.upload(wav(0.5))
        job_id = client.submit(prompt="x", input_audio=upload.input_audio, continuation=True)
        with pytest.raises(Conflict, match="upload_in_use"):
            client.delete_upload(upload.id)
        deleted = client.delete_everything()
        assert (deleted.jobs, deleted.uploads) == (1, 1)
        assert list(client.jobs()) == [] and list(client.uploads()) == []
        with pytest.raises(NotFound):
            client.status(job_id)
