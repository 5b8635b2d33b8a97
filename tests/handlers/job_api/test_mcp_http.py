"""An agent's tools over HTTP, called by MCP's own client at a real server."""

from __future__ import annotations

import base64
import io
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx
import pytest
import soundfile
from mcp_types import AudioContent, ResourceLink

from handlers.job_api.store import api_keys
from handlers.job_api.store.database import Pool
from tests.support.agents import LEGACY, MODERN, fields, over_http, run, text
from tests.support.job_server import JobServer, data_folder, job_server

TOOLS = {
    "generate_music",
    "continue_music",
    "get_clip",
    "list_clips",
    "cancel",
    "delete_clip",
    "list_models",
}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
ACCEPTS = {"Accept": "application/json, text/event-stream"}
WithPool = Callable[[Callable[[Pool], Awaitable[Any]]], Any]


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
def test_an_agent_makes_hears_and_continues_music(server: JobServer, mode: str) -> None:
    async def work() -> None:
        reports: list[tuple[float, str | None]] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            reports.append((progress, message))

        async with over_http(server.url, mode=mode) as agent:
            tools = {tool.name: tool for tool in (await agent.list_tools()).tools}
            assert set(tools) == TOOLS
            assert tools["generate_music"].input_schema["properties"]["duration"]["maximum"] == 300
            wanted = {"prompt": "calm piano", "duration": 4, "seed": 7}
            made = await agent.call_tool("generate_music", wanted, progress_callback=note)
            job = fields(made)
            assert (job["status"], job["licence"]) == ("completed", "Apache-2.0")
            clip = job["clips"][0]
            assert (clip["seed"], clip["seconds"]) == (7, 4)
            assert clip["url"] == f"{server.url}/audio/{job['job_id']}.mp3"
            link = next(part for part in made.content if isinstance(part, ResourceLink))
            sound = next(part for part in made.content if isinstance(part, AudioContent))
            assert (link.uri, link.size) == (clip["url"], clip["bytes"])
            content = base64.b64decode(sound.data)
            assert server.http.get(clip["url"]).content == content
            assert soundfile.info(io.BytesIO(content)).format == "MP3"
            values = [progress for progress, _ in reports]
            assert values == sorted(set(values)) and all(0 <= value < 1 for value in values)
            longer = {"job_id": job["job_id"], "prompt": "piano", "duration": 5}
            continued = fields(await agent.call_tool("continue_music", longer))
            assert continued["clips"][0]["seconds"] == 5
            listed = fields(await agent.call_tool("list_clips", {"limit": 2}))
            assert [j["job_id"] for j in listed["jobs"]] == [continued["job_id"], job["job_id"]]
            again = fields(await agent.call_tool("get_clip", {"job_id": job["job_id"]}))
            assert again["clips"] == job["clips"]

    run(work)


def test_progress_comes_while_music_is_made(server: JobServer) -> None:
    async def work() -> None:
        messages: list[str | None] = []

        async def note(_: float, total: float | None, message: str | None) -> None:
            assert total == 1.0
            messages.append(message)

        async with over_http(server.url) as agent:
            wanted = {"prompt": "calm piano", "duration": 60, "include_audio": False}
            made = await agent.call_tool("generate_music", wanted, progress_callback=note)
            assert fields(made)["clips"][0]["seconds"] == 60
            assert not any(isinstance(part, AudioContent) for part in made.content)
        assert any(message and message.endswith("% made") for message in messages)

    run(work)


def test_a_job_outlives_the_wait_and_can_be_cancelled(server: JobServer) -> None:
    async def work() -> None:
        async with over_http(server.url) as agent:
            wanted = {"prompt": "piano", "duration": 300, "wait_seconds": 0}
            begun = await agent.call_tool("generate_music", wanted)
            job = fields(begun)
            assert job["status"] in ("queued", "running") and "get_clip" in text(begun)
            cancelled = await agent.call_tool("cancel", {"job_id": job["job_id"]})
            assert fields(cancelled)["status"] == "cancelled"

    run(work)


def test_a_call_given_up_cancels_its_job(server: JobServer) -> None:
    async def work() -> None:
        async with over_http(server.url, mode=MODERN) as agent:
            before = fields(await agent.call_tool("list_clips", {"limit": 1}))["jobs"]
            wanted = {"prompt": "given up", "duration": 300}
            with anyio.move_on_after(2):
                await agent.call_tool("generate_music", wanted)
            jobs = fields(await agent.call_tool("list_clips", {"limit": 1}))["jobs"]
            assert jobs[0]["prompt"] == "given up" and jobs != before
            server.until(jobs[0]["job_id"], lambda now: now["status"] == "cancelled", 10)

    run(work)


@pytest.mark.parametrize(
    ("tool", "arguments", "advice"),
    [
        ("generate_music", {"prompt": "piano", "duration": 9000}, "0.1 to 300"),
        ("generate_music", {"prompt": "piano", "duration": "long"}, "duration"),
        ("generate_music", {"prompt": "piano", "model_version": "unknown"}, "demo"),
        ("generate_music", {"prompt": "piano", "options": {"tempo": 3}}, "tempo"),
        ("generate_music", {"prompt": "piano", "options": {"duration": 3}}, "options: duration"),
        ("generate_music", {"prompt": "piano", "wait_seconds": 1e9}, "wait_seconds"),
        ("get_clip", {"job_id": "../../metrics"}, "32 hexadecimal digits"),
        ("get_clip", {"job_id": "0" * 32}, "No such job"),
        ("continue_music", {"job_id": "0" * 32, "prompt": "x", "duration": 9}, "No such job"),
        ("list_clips", {"limit": 1000}, "limit"),
    ],
)
def test_errors_say_what_to_do(
    server: JobServer, tool: str, arguments: dict[str, Any], advice: str
) -> None:
    async def work() -> None:
        async with over_http(server.url) as agent:
            answer = await agent.call_tool(tool, arguments)
            assert answer.is_error and advice in text(answer), text(answer)
            assert "Traceback" not in text(answer)

    run(work)


def test_models_come_with_their_licence(server: JobServer) -> None:
    async def work() -> None:
        async with over_http(server.url) as agent:
            answer = await agent.call_tool("list_models", {})
            licences = {m["name"]: m["licence"] for m in fields(answer)["models"]}
            assert (licences["demo"], licences["small"]) == ("Apache-2.0", "CC-BY-NC-4.0")
            assert "small: follows text, licence CC-BY-NC-4.0" in text(answer)
            assert "not for commercial use" in (agent.instructions or "")

    run(work)


def test_other_sites_hosts_and_large_messages_are_refused(server: JobServer) -> None:
    def post(headers: dict[str, str], **content: Any) -> httpx.Response:
        return server.http.post("/mcp", headers={**ACCEPTS, **headers}, **content)

    assert post({}, json=PING).status_code == 200
    assert post({"Origin": "https://evil.example"}, json=PING).status_code == 403
    assert post({"Host": "evil.example"}, json=PING).status_code == 400
    large = post({}, json={**PING, "params": {"x": "x" * 200_000}})
    assert large.status_code == 413 and large.json()["error"]["code"] == "body_too_large"
    assert server.http.get("/mcp").status_code == 405
    metrics = server.http.get("/metrics").text
    assert 'method="POST",route="/mcp",status="200"' in metrics


def test_keys_hold_for_tools_too(database: str, with_pool: WithPool) -> None:
    def create(name: str, *scopes: str) -> str:
        made = with_pool(lambda pool: api_keys.create(pool, name, frozenset(scopes), None))
        return str(made.key)

    ann, ben, reader = create("ann", "generate"), create("ben", "generate"), create("reader")
    settings = {"DATABASE_URL": database, "MUSICGEN_API_AUTH": "on", "MUSICGEN_JOBS_PER_KEY": 1}
    wanted = {"prompt": "piano", "wait_seconds": 0}
    with (
        data_folder(with_database=False) as folder,
        job_server(folder, "api", **settings) as server,
    ):
        asked = 'Bearer realm="musicgen"'
        for key, more in ((None, ""), (ann[:-1] + "x", ', error="invalid_token"')):
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            answer = httpx.post(f"{server.url}/mcp", json=PING, headers=ACCEPTS | headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == asked + more

        async def work() -> None:
            async with over_http(server.url, ann) as agent:
                job = fields(await agent.call_tool("generate_music", wanted))
                full = await agent.call_tool("generate_music", wanted)
                assert full.is_error and "too_many_jobs" in text(full)
                assert "cancel one" in text(full)
            async with over_http(server.url, ben) as agent:
                assert fields(await agent.call_tool("list_clips", {}))["jobs"] == []
                hidden = await agent.call_tool("get_clip", {"job_id": job["job_id"]})
                assert hidden.is_error and "No such job" in text(hidden)
            async with over_http(server.url, reader) as agent:
                refused = await agent.call_tool("generate_music", wanted)
                assert refused.is_error and "lacks the scope 'generate'" in text(refused)

        run(work)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"prompt": "x", "temperature": 0.5}, "temperature is not an argument of this tool. Give"),
        ({"promt": "x"}, "promt is not an argument of this tool. Did you mean prompt?"),
        ({}, "prompt is missing."),
        ({"prompt": "x", "duration": "long"}, "duration: Input should be a valid number"),
        ({"prompt": "x", "wait_seconds": 601}, "wait_seconds: Input should be less than"),
    ],
)
def test_a_wrong_argument_is_named(server: JobServer, arguments: dict[str, Any], says: str) -> None:
    """Guards a field that the SDK drops in silence, and addresses of pydantic's pages."""

    async def work() -> None:
        async with over_http(server.url) as agent:
            answer = await agent.call_tool("generate_music", arguments)
            assert answer.is_error and text(answer).startswith(says), text(answer)
            assert "pydantic" not in text(answer)

    run(work)
