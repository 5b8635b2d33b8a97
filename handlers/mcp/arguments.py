"""Arguments of a tool call: unknown ones are refused, and wrong ones named in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, InputRequiredResult
from pydantic import ValidationError

from musicgen.errors import find_nearest, show_name, show_value
from musicgen.request import request_fields


class StrictServer(MCPServer[Any]):
    """Server whose tools refuse arguments that they do not know; the SDK drops them."""

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool. Raises: `ToolError` for a wrong argument, with what is allowed."""
        for tool in await self.list_tools():
            if tool.name == name:
                _check_names(arguments, tool.input_schema["properties"])
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            if isinstance(error.__cause__, ValidationError):
                raise ToolError(_describe(error.__cause__)) from error
            raise


def _check_names(arguments: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for name in arguments:
        if name in known:
            continue
        nearest = find_nearest(name, known)
        advice = f" Did you mean {nearest}?" if nearest else ""
        if name in request_fields() and "options" in known:
            advice = " Give it inside options."
        raise ToolError(
            f"{show_name(name)} is not an argument of this tool.{advice} "
            f"The arguments are {', '.join(known)}."
        )


def _describe(error: ValidationError) -> str:
    """Return the first fault in a sentence, without the addresses of pydantic's pages."""
    fault = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "missing":
        return f"{name} is missing."
    return f"{name}: {fault['msg']} (was {show_value(fault['input'])})."
