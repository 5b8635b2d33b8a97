"""A clip that a caller saves is whole, or is not there: `generate --server` and agents' tools."""

from __future__ import annotations

from pathlib import Path

from tests.support.agents import on_stdio, run, text
from tests.support.commands import run_command
from tests.support.disks import small_disk, tree
from tests.support.job_server import JobServer, environment

SECONDS = 20
"""A wav of this length has more than the disk's megabyte."""


def test_the_command_keeps_no_part_of_a_clip(server: JobServer, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        words = ["generate", "piano", "--duration", str(SECONDS), "--server", server.url]
        ended = run_command(
            [*words, "-o", str(disk / "clip.wav")], environment(tmp_path / "unused")
        )
        assert ended.status == 1 and "No space left on device" in ended.lines[-1]
        assert not tree(disk)


def test_a_tool_keeps_no_part_of_a_clip(server: JobServer, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:

        async def work() -> None:
            async with on_stdio(server.url, "--folder", str(disk)) as agent:
                wanted = {"prompt": "piano", "duration": SECONDS, "output_format": "wav"}
                answer = await agent.call_tool("generate_music", wanted)
                assert answer.is_error and "No space left on device" in text(answer)

        run(work)
        assert not tree(disk)
