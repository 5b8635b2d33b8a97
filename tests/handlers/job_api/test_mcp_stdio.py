"""`musicgen mcp`, started by MCP's own client as an agent starts it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.support.agents import LEGACY, fields, on_stdio, run, text
from tests.support.job_server import JobServer, free_port


def test_an_agent_saves_clips_of_a_server(server: JobServer, tmp_path: Path) -> None:
    async def work() -> None:
        async with on_stdio(server.url, "--folder", str(tmp_path / "clips")) as agent:
            wanted = {"prompt": "piano", "duration": 2, "variations": 2, "output_format": "wav"}
            job = fields(await agent.call_tool("generate_music", wanted))
            files = [Path(clip["file"]) for clip in job["clips"]]
            assert files == [
                tmp_path / "clips" / clip["url"][-len(f.name) :]
                for clip, f in zip(job["clips"], files, strict=True)
            ]
            told = server.status(job["job_id"])["result"]["clips"]
            assert [hashlib.sha256(f.read_bytes()).hexdigest() for f in files] == [
                clip["sha256"] for clip in told
            ]
            longer = {"job_id": job["job_id"], "clip": 2, "prompt": "piano", "duration": 3}
            continued = fields(await agent.call_tool("continue_music", longer))
            assert continued["clips"][0]["seconds"] == 3

    run(work)


def test_without_a_server_tools_say_how_to_start_one() -> None:
    address = f"http://127.0.0.1:{free_port()}"

    async def work() -> None:
        async with on_stdio(address, mode=LEGACY) as agent:
            assert (await agent.list_tools()).tools
            answer = await agent.call_tool("list_clips", {})
            assert answer.is_error and "musicgen serve all" in text(answer)
            assert address in text(answer)

    run(work)
