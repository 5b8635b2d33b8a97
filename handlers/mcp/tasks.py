"""Long-running tools as tasks: the extension `io.modelcontextprotocol/tasks` of MCP 2026-07-28.

A job is a task already: stored, owned by its key, cancellable. A client that declares the extension
gets the job's id at once, asks for its state, and need not keep a connection open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver import require_client_extension
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, CallToolRequestParams, RequestParams
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from handlers.mcp.job_calls import CallRefused, Connect, JobCalls
from handlers.mcp.replies import build_result, describe_progress

IDENTIFIER = "io.modelcontextprotocol/tasks"
POLL_MS = 2000
_MAKERS = ("generate_music", "continue_music")
_STATES = {"queued": "working", "running": "working", "cancelled": "cancelled"}
_CALLERS_FAULT = (404, 422)
Request = ServerRequestContext[Any, Any]


class TaskParams(RequestParams):
    """Parameters of the methods of tasks."""

    task_id: str


class JobTasks(Extension):
    """Tasks of the tools that make music. `connect` and `folder` are those of the tools."""

    identifier = IDENTIFIER

    def __init__(self, connect: Connect, folder: Path | None) -> None:
        self._connect = connect
        self._folder = folder

    def methods(self) -> Sequence[MethodBinding]:
        """Return the methods of the extension."""
        handlers = {"get": self._get, "cancel": self._cancel, "update": self._update}
        versions = frozenset(MODERN_PROTOCOL_VERSIONS)
        return [
            MethodBinding(f"tasks/{name}", TaskParams, handler, versions)
            for name, handler in handlers.items()
        ]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: Request, call_next: CallNext
    ) -> HandlerResult:
        """Answer with a task instead of waiting, if the client knows tasks."""
        if params.name not in _MAKERS or not _knows_tasks(ctx):
            return await call_next(ctx)
        params.arguments = {**(params.arguments or {}), "wait_seconds": 0, "include_audio": False}
        result: Any = await call_next(ctx)
        if result.is_error:
            return result  # type: ignore[no-any-return]
        async with self._connect(ctx.request) as calls:
            status = await calls.read(result.structured_content["job_id"])
            return {"resultType": "task", **_describe_task(status, calls)}

    async def _get(self, ctx: Request, params: TaskParams) -> HandlerResult:
        """Return the state of a task, with the result of the tool once it has ended."""
        require_client_extension(ctx, self.identifier)
        try:
            async with self._connect(ctx.request) as calls:
                status = await calls.read(params.task_id)
                task = _describe_task(status, calls)
                if task["status"] == "completed":
                    result = await build_result(calls, status, with_audio=True, folder=self._folder)
                    task["result"] = result.model_dump(
                        by_alias=True, mode="json", exclude_none=True
                    )
        except ToolError as error:
            raise _convert(error) from error
        return {"resultType": "complete", **task}

    async def _cancel(self, ctx: Request, params: TaskParams) -> HandlerResult:
        require_client_extension(ctx, self.identifier)
        try:
            async with self._connect(ctx.request) as calls:
                await calls.cancel(params.task_id)
        except ToolError as error:
            raise _convert(error) from error
        return {"resultType": "complete"}

    async def _update(self, ctx: Request, params: TaskParams) -> HandlerResult:
        """Acknowledge answers that no task of this server asks for."""
        require_client_extension(ctx, self.identifier)
        try:
            async with self._connect(ctx.request) as calls:
                await calls.read(params.task_id)
        except ToolError as error:
            raise _convert(error) from error
        return {"resultType": "complete"}


def _knows_tasks(ctx: Request) -> bool:
    capabilities = ctx.session.client_capabilities
    declared = (capabilities.extensions if capabilities else None) or {}
    return IDENTIFIER in declared and ctx.protocol_version in MODERN_PROTOCOL_VERSIONS


def _describe_task(status: Mapping[str, Any], calls: JobCalls) -> dict[str, Any]:
    """Return the task of a job. A failed job is a completed task with an error as its result."""
    state = _STATES.get(status["status"], "completed")
    task = {
        "taskId": status["job_id"],
        "status": state,
        "createdAt": status["created_at"],
        "lastUpdatedAt": status["finished_at"] or status["started_at"] or status["created_at"],
        "ttlMs": calls.kept_ms,
        "pollIntervalMs": POLL_MS,
    }
    if state == "working":
        where = (status["status"], status["progress"], status["position"])
        task["statusMessage"] = describe_progress(*where)
    return task


def _convert(error: ToolError) -> MCPError:
    """Return the error of the protocol for a refused call."""
    is_callers = isinstance(error, CallRefused) and error.status in _CALLERS_FAULT
    return MCPError(code=INVALID_PARAMS if is_callers else INTERNAL_ERROR, message=str(error))
