"""Bodies of calls: how large they may be, and what reading them costs."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Callable, Iterator

import numpy as np
import psutil
import pytest
import soundfile as sf
from starlette.types import Message

from handlers.job_api.api.bodies import FIELDS_MAX_BYTES, INLINE_MAX_BYTES
from handlers.job_api.api.counted_streams import CheckedStream, OpenStreams
from handlers.job_api.api.middleware.body_limit import BodyLimit
from tests.support.clips import wav
from tests.support.health_watch import ANSWER_SECONDS, HealthWatch, peak_bytes, resident_bytes
from tests.support.job_server import JobServer, data_folder, job_server

SOUND = base64.b64encode(wav(0.5)).decode()


@pytest.fixture(scope="module")
def api() -> Iterator[JobServer]:
    """An API alone: jobs wait."""
    settings = {"MUSICGEN_RATE_LIMIT": "100000/minute", "MUSICGEN_JOBS_PER_KEY": 1000}
    with data_folder() as folder, job_server(folder, "api", **settings) as running:
        yield running


def _pid(server: JobServer) -> int:
    children = psutil.Process(server.process.pid).children(recursive=True)
    own = [child.pid for child in children if "serve" in child.cmdline()]
    return own[0] if own else server.process.pid


def _noise(size: int) -> str:
    """A wav file in base64 with `size` characters at least."""
    sound = io.BytesIO()
    pcm = np.random.default_rng(1).uniform(-1, 1, (size * 3 // 8, 1)).astype(np.float32)
    sf.write(sound, pcm, 32_000, format="WAV", subtype="PCM_16")
    return base64.b64encode(sound.getvalue()).decode()


BOMBS = {
    "lists": b"[" + b"[]," * 6_600_000 + b"[]]",
    "names": b'{"prompt": "x", "seeds": {' + b'"a":1,' * 3_000_000 + b'"b":1}}',
    "sound elsewhere": b'{"sections": [{"input_audio": "' + b"A" * 9_000_000 + b'"}]}',
    "sound in a text": b'{"prompt": "\\"input_audio\\": \\"' + b"A" * 9_000_000 + b'"}',
    "two sounds": b'{"input_audio": "' + b"A" * 9_000_000 + b'", "input_audio": "upload:x"}',
    "spaces": b'{"prompt": "x", "continuation": true, "input_audio": "'
    + b"AA " * 6_000_000
    + b'"}',
    "escapes": b'{"prompt": "x", "input_audio": "' + rb"\u4e2d" * 3_000_000 + b'"}',
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_large_body_costs_little_time_and_memory(api: JobServer, kind: str) -> None:
    """One such body took 24 s of the event loop and 3 GB, kept afterwards."""
    pid = _pid(api)
    before = resident_bytes(pid)
    with HealthWatch(api.url, pid).run() as watch:
        answer = api.http.post("/generate", content=BOMBS[kind])
    assert answer.status_code in (202, 413, 422), answer.text
    assert watch.answers and watch.worst < ANSWER_SECONDS
    assert peak_bytes(pid) < 450e6
    assert resident_bytes(pid) < 1.2 * before + 20e6


@pytest.mark.parametrize("path", ["/session", "/v1/models/small/load", "/generate/", "/anything"])
@pytest.mark.parametrize("is_declared", [True, False])
def test_other_routes_take_a_kilobyte(api: JobServer, path: str, is_declared: bool) -> None:
    """POST /session read and parsed 100 MB from anybody."""
    body = json.dumps({"key": "k", "more": "x" * 1000}).encode()
    content = body if is_declared else iter([body[:500], body[500:]])
    answer = api.http.post(path, content=content)
    # A route that reads no body does not count one of unknown length.
    assert answer.status_code == 413 or not is_declared
    if path == "/session" or is_declared:
        assert answer.json()["error"] == {
            "code": "body_too_large",
            "message": "The body is larger than 1 kB, the limit.",
            "request_id": answer.headers["X-Request-ID"],
            "type": "invalid_request_error",
            "param": None,
        }


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize("path", ["/", "/docs", "/static/style.css", "/v1/models"])
def test_a_body_of_unknown_length_does_not_cut_an_answer(
    api: JobServer, path: str, encoding: str
) -> None:
    """The answer ended early. Each such call filled the log with 4 kB and kept 150 kB of memory."""
    before = len(api.log)
    for _ in range(3):
        body = iter([bytes(2**16)] * 40)
        headers = {"Accept-Encoding": encoding}
        with api.http.stream("GET", path, content=body, headers=headers) as answer:
            # Refused at once, or answered as without a body.
            assert answer.status_code in (200, 413)
            assert len(b"".join(answer.iter_raw())) == int(answer.headers["content-length"])
    assert "Traceback" not in api.log[before:]


def _call_later(turns: int, function: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    if turns:
        loop.call_soon(_call_later, turns - 1, function)
    else:
        function()


@pytest.mark.parametrize("turns", range(8))
def test_a_body_refused_as_a_stream_begins_does_not_cut_it(turns: int) -> None:
    """The stream ended early, and its traceback filled the log.

    `turns`: of the event loop from the last of the body to the first of the stream.
    """
    sent: list[Message] = []

    async def call() -> None:
        has_body, messages = asyncio.Event(), iter([bytes(2000), bytes(2000)])

        async def stream() -> AsyncIterator[bytes]:
            await has_body.wait()
            yield b"first"
            await asyncio.sleep(0)
            yield b"second"

        async def receive() -> Message:
            body = next(messages, None)
            if body is None:
                await asyncio.Event().wait()
            _call_later(turns, has_body.set)
            return {"type": "http.request", "body": body, "more_body": True}

        async def send(message: Message) -> None:
            sent.append(message)

        app = BodyLimit(CheckedStream(OpenStreams(1), "a client", stream()), 60, lambda code: None)
        await app({"type": "http", "path": "/", "headers": []}, receive, send)

    asyncio.run(asyncio.wait_for(call(), 60))
    assert [message.get("body") for message in sent] == [None, b"first", b"second", b""]
    assert sent[0]["status"] == 200 and not sent[-1]["more_body"]


def test_refusals_are_counted_by_code(api: JobServer) -> None:
    def count() -> float:
        lines = api.http.get("/metrics").text.splitlines()
        name = 'musicgen_calls_refused_total{code="body_too_large"} '
        return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))

    before = count()
    api.http.post("/session", content=b"x" * 1001)
    assert count() == before + 1


def test_a_sound_inside_a_call_has_its_own_limit(api: JobServer) -> None:
    body = {"prompt": "x", "continuation": True, "input_audio": _noise(INLINE_MAX_BYTES - 200_000)}
    answer = api.http.post("/generate", json=body)
    assert answer.status_code == 202, answer.text
    assert (
        api.http.get(f"/status/{answer.json()['job_id']}")
        .json()["request"]["input_audio"]
        .startswith("upload:")
    )
    body["input_audio"] += "A" * 200_000
    answer = api.http.post("/generate", json=body)
    assert answer.status_code == 413
    assert "20 MB" in answer.json()["error"]["message"]
    assert "POST /v1/uploads" in answer.json()["error"]["message"]


def test_the_other_fields_have_a_limit_too(api: JobServer) -> None:
    body = {"prompt": "x", "input_audio": SOUND, "negative_prompt": "x" * FIELDS_MAX_BYTES}
    answer = api.http.post("/generate", json=body)
    assert answer.status_code == 413
    assert "beside input_audio" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "sound",
    [
        json.dumps(SOUND).replace("/", "\\/").replace("+", "\\u002b"),
        json.dumps(base64.encodebytes(base64.b64decode(SOUND)).decode()),
        json.dumps("data:audio/wav;base64," + SOUND),
    ],
)
def test_the_sound_may_be_written_as_json_allows(api: JobServer, sound: str) -> None:
    """Other languages' libraries escape slashes and signs."""
    upload = base64.b64decode(SOUND)
    body = f'{{"prompt": "x", "continuation": true,\n "input_audio" : {sound}, "seed": 1}}'
    answer = api.http.post("/generate", content=body)
    assert answer.status_code == 202, answer.text
    request = api.http.get(f"/status/{answer.json()['job_id']}").json()["request"]
    path = api.folder / "uploads" / request["input_audio"].removeprefix("upload:")
    assert path.read_bytes() == upload and request["seed"] == 1
