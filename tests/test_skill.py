"""The agent skill and the page about tools, held against the tools."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import nullcontext
from typing import Any

import yaml

from handlers.mcp.server import build_server
from musicgen import catalog
from tests.support import ROOT

SKILL = ROOT / "skills" / "musicgen" / "SKILL.md"
PAGE = (ROOT / "docs" / "mcp.md").read_text(encoding="utf-8")


def _tools() -> dict[str, Any]:
    def connect(_: object) -> Any:
        return nullcontext()

    return {tool.name: tool for tool in asyncio.run(build_server(connect).list_tools())}


def test_the_skill_has_what_agents_read_first() -> None:
    _, head, body = SKILL.read_text(encoding="utf-8").split("---\n", 2)
    about = yaml.safe_load(head)
    assert about["name"] == SKILL.parent.name
    assert 0 < len(about["description"]) <= 1024
    tools = _tools()
    named = set(re.findall(r"`([a-z]+_[a-z]+)`", body))
    arguments = {name for tool in tools.values() for name in tool.input_schema["properties"]}
    codes = {"too_many_jobs", "queue_full"}
    assert named <= set(tools) | arguments | codes, named
    assert catalog.MUSICGEN_LICENCE in body and len(body.splitlines()) < 80


def test_the_page_lists_the_tools_and_valid_configurations() -> None:
    tools = _tools()
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.M)
    assert set(rows) == set(tools)
    blocks = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2 and all(json.loads(block)["mcpServers"] for block in blocks)


def test_each_argument_is_described() -> None:
    for tool in _tools().values():
        assert tool.description and tool.output_schema, tool.name
        for name, argument in tool.input_schema["properties"].items():
            assert argument.get("description"), (tool.name, name)
