"""The MCP server: its tools, each made of calls of the job API.

Callers differ in transport alone: over HTTP the job API serves itself, on stdio it is a server
elsewhere. Both get the keys, owners, limits and the queue of the job API.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations

from handlers.mcp.arguments import StrictServer
from handlers.mcp.job_calls import Connect
from handlers.mcp.tasks import JobTasks
from handlers.mcp.tools import MusicTools
from musicgen import __version__, catalog

_INSTRUCTIONS = (
    "Music from text, by MusicGen: instrumental clips of 0.1 to 300 seconds, no vocals. Describe "
    "instruments, genre, mood and tempo in English. Making music can take as long as it plays, or "
    f"longer. Tell the user the licence of the weights: Meta's are {catalog.MUSICGEN_LICENCE}, not "
    "for commercial use."
)
_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_MAKES = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
_STOPS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True)


def build_server(connect: Connect, folder: Path | None = None) -> MCPServer[Any]:
    """Return a server; `connect` opens the calls for one request.

    `folder`: tools save their clips there; only for a server on the user's machine.
    """
    server = StrictServer(
        "musicgen",
        title="MusicGen",
        version=__version__,
        instructions=_INSTRUCTIONS,
        log_level="WARNING",
        subscriptions=False,
        extensions=[JobTasks(connect, folder)],
    )
    tools = MusicTools(connect, folder)
    for tool, title, hints in (
        (tools.generate_music, "Generate music", _MAKES),
        (tools.continue_music, "Continue music", _MAKES),
        (tools.get_clip, "Get a clip", _READS),
        (tools.list_clips, "List clips", _READS),
        (tools.cancel, "Cancel a job", _STOPS),
        (tools.delete_clip, "Delete a clip", _STOPS),
        (tools.list_models, "List models", _READS),
    ):
        text = inspect.getdoc(tool)
        server.add_tool(tool, title=title, description=text, annotations=hints)
    return server
