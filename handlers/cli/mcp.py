"""`musicgen mcp`: tools for an agent on this machine, made by a job API."""

from __future__ import annotations

import argparse
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from handlers.cli.options import HOST, PORT, Commands, parse_url
from handlers.cli.paths import check_folder
from musicgen.errors import MissingDependency
from musicgen.settings import Settings
from musicgen.settings.job_api import ClientSettings

if TYPE_CHECKING:
    from handlers.mcp.job_calls import JobCalls

logger = logging.getLogger(__name__)


def add(commands: Commands) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "mcp",
        help="tools for an agent, by the Model Context Protocol on stdio",
        description="An agent such as Claude or Cursor starts this command. A job API makes the "
        "music: start one with `musicgen serve all`. MUSICGEN_API_KEY is its key.",
    )
    parser.add_argument(
        "--server",
        type=parse_url,
        metavar="URL",
        default=f"http://{HOST}:{PORT}",
        help="the job API (default: %(default)s)",
    )
    parser.add_argument(
        "--folder", type=Path, metavar="FOLDER", help="save the clips of tool calls here"
    )
    parser.set_defaults(run=_serve_agent)


def _serve_agent(options: argparse.Namespace, _: Settings) -> int:
    """Answer an agent on standard input and output until it hangs up."""
    if find_spec("mcp") is None:
        raise MissingDependency("mcp", "`musicgen mcp`", "mcp")
    import httpx

    from handlers.mcp.job_calls import TIMEOUT, JobCalls
    from handlers.mcp.server import build_server

    if options.folder is not None:
        check_folder("--folder", options.folder)
    key = ClientSettings.from_env().api_key
    headers = {"Authorization": f"Bearer {key}"} if key else {}

    @asynccontextmanager
    async def connect(_: object) -> AsyncIterator[JobCalls]:
        # A clip may redirect to a bucket; httpx sends the key to its own server alone.
        async with httpx.AsyncClient(
            base_url=options.server, headers=headers, timeout=TIMEOUT, follow_redirects=True
        ) as http:
            yield JobCalls(http, options.server, needs_key=key is not None)

    logger.info("MCP on stdio, music by the job API at %s.", options.server)
    build_server(connect, options.folder).run("stdio")
    return 0
