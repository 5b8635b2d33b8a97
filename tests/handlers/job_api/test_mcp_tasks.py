"""Tools as tasks, asked for by a client that knows the extension of MCP 2026-07-28."""

from __future__ import annotations

import itertools
import signal
from typing import Any, Literal

import anyio
import pytest
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolResult, Request, RequestParams, Result
from pydantic import ConfigDict

from handlers.mcp.tasks import IDENTIFIER
from tests.support.agents import MODERN, fields, over_http, run, text
from tests.support.job_server import JobServer, data_folder, job_server

CAPABILITY_MISSING = -32021


class TaskParams(RequestParams):
    task_id: str


class TaskRequest(Request[TaskParams, str]):
    name_param = "taskId"


class Created(Result):
    model_config = ConfigDict(extra="allow")
    result_type: Literal["task"]
    task_id: str
    status: str
    ttl_ms: int | None
    poll_interval_ms: int


class Answer(Result):
    model_config = ConfigDict(extra="allow")
    result_type: str


async def _ask(session: Any, method: str, task_id: str) -> dict[str, Any]:
    request = TaskRequest(method=f"tasks/{method}", params=TaskParams(task_id=task_id))
    answer = await session.send_request(request, Answer)
    assert answer.result_type == "complete"
    return dict(answer.model_extra or {})


class Tasks(ClientExtension):
    """Keeps each task, and polls it to its end."""

    identifier = IDENTIFIER

    def __init__(self, cancels: bool = False) -> None:
        self.created: list[Created] = []
        self.states: list[dict[str, Any]] = []
        self._cancels = cancels

    def claims(self) -> list[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=Created, resolve=self._resolve)]

    async def _resolve(self, created: Created, ctx: ClaimContext) -> CallToolResult:
        self.created.append(created)
        if self._cancels:
            assert await _ask(ctx.session, "cancel", created.task_id) == {}
        while True:
            state = await _ask(ctx.session, "get", created.task_id)
            self.states.append(state)
            if state["status"] == "completed":
                return CallToolResult.model_validate(state["result"])
            if state["status"] == "cancelled":
                return CallToolResult(content=[], is_error=True)
            await anyio.sleep(0.05)


def test_a_client_with_tasks_gets_one_and_polls_it(server: JobServer) -> None:
    async def work() -> None:
        tasks = Tasks()
        async with over_http(server.url, mode=MODERN, extensions=[tasks]) as agent:
            wanted = {"prompt": "calm piano", "duration": 20, "seed": 3}
            job = fields(await agent.call_tool("generate_music", wanted))
            (created,) = tasks.created
            assert (created.task_id, created.status) == (job["job_id"], "working")
            assert created.ttl_ms == 168 * 3_600_000 and created.poll_interval_ms > 0
            assert (job["status"], job["clips"][0]["seconds"]) == ("completed", 20)
            assert job["clips"][0]["seed"] == 3
            *before, last = [state["status"] for state in tasks.states]
            assert set(before) == {"working"} and last == "completed"
            messages = [state.get("statusMessage", "") for state in tasks.states]
            assert any("made" in message or "waiting" in message for message in messages)
            # Tools that end at once are no tasks.
            assert fields(await agent.call_tool("get_clip", {"job_id": job["job_id"]}))
            bad = await agent.call_tool("generate_music", {"prompt": "x", "duration": 9000})
            assert bad.is_error and "0.1 to 300" in text(bad)
            assert len(tasks.created) == 1
            for method, task in itertools.product(("get", "cancel", "update"), ("0" * 32, "x")):
                with pytest.raises(MCPError) as refused:
                    await _ask(agent.session, method, task)
                assert refused.value.error.code == INVALID_PARAMS

    run(work)


def test_a_task_is_cancelled(server: JobServer) -> None:
    async def work() -> None:
        tasks = Tasks(cancels=True)
        async with over_http(server.url, mode=MODERN, extensions=[tasks]) as agent:
            wanted = {"prompt": "piano", "duration": 300}
            assert (await agent.call_tool("generate_music", wanted)).is_error
            assert server.status(tasks.created[0].task_id)["status"] == "cancelled"

    run(work)


def test_a_client_without_tasks_may_not_ask_for_them(server: JobServer) -> None:
    job_id = server.submit()

    async def work() -> None:
        async with over_http(server.url, mode=MODERN) as agent:
            with pytest.raises(MCPError) as refused:
                await _ask(agent.session, "get", job_id)
            assert refused.value.error.code == CAPABILITY_MISSING

    run(work)


@pytest.mark.slow
def test_a_stopping_server_cancels_no_job(database: str) -> None:
    """The tool answers, and the job waits for the next server."""
    settings = {"DATABASE_URL": database}

    async def work(server: JobServer) -> None:
        async with over_http(server.url, mode=MODERN) as agent, anyio.create_task_group() as group:
            answers: list[CallToolResult] = []
            # The client checks answers by these.
            await agent.list_tools()

            async def generate() -> None:
                wanted = {"prompt": "piano", "wait_seconds": 60}
                answers.append(await agent.call_tool("generate_music", wanted))

            group.start_soon(generate)
            while not server.http.get("/v1/jobs").json()["jobs"]:
                await anyio.sleep(0.1)
            await anyio.sleep(0.5)
            server.process.send_signal(signal.SIGTERM)
        assert fields(answers[0])["status"] == "queued" and "get_clip" in text(answers[0])

    with (
        data_folder(with_database=False) as folder,
        job_server(folder, "api", **settings) as server,
    ):
        run(lambda: work(server))
    with (
        data_folder(with_database=False) as folder,
        job_server(folder, "api", **settings) as server,
    ):
        (job,) = server.http.get("/v1/jobs").json()["jobs"]
        assert job["status"] == "queued"
