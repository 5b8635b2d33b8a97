"""Route of the MCP server, for agents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import Response

from handlers.job_api.api.mcp_endpoint import McpResponse, has_mcp
from handlers.job_api.api.routes_jobs import CurrentCaller
from musicgen.errors import MissingDependency

if TYPE_CHECKING:
    from handlers.job_api.api.mcp_endpoint import McpEndpoint

PATH = "/mcp"

router = APIRouter(tags=["agents"])


# Its messages are those of MCP, so it is no part of the OpenAPI document.
@router.post(PATH, include_in_schema=False)
async def answer_agent(request: Request, caller: CurrentCaller) -> Response:
    """Answer a message of the Model Context Protocol.

    Raises: `MissingDependency` without the extra `mcp`.
    """
    if not has_mcp():
        raise MissingDependency("mcp", "The MCP server", "api,mcp")
    endpoint: McpEndpoint = request.app.state.mcp
    return McpResponse(await endpoint.open())
