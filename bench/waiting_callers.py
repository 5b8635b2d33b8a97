"""Measure the API process under many waiting callers with slow readers.

    python bench/waiting_callers.py [--callers 200] [--seconds 20] [--rounds 3]

Starts `musicgen serve all` with the demo model on loopback. In each round all callers wait for a
sound: a quarter streams it, a quarter takes it whole, and a quarter streams it and reads nothing
before the job has ended. These share the job of one idempotency key. The last quarter wait for jobs
of their own behind it, and hang up. The last line is one JSON object: threads, open files and
resident bytes of the API process before the first round, at the peak and after each round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil

from tests.support.job_server import JobServer, data_folder, job_server

SETTINGS = {
    "MUSICGEN_STREAMS_PER_KEY": 1000,
    "MUSICGEN_JOBS_PER_KEY": 1000,
    "MUSICGEN_RATE_LIMIT": "1000000/minute",
}
BLOCK_BYTES = 2**14
PAUSE_SECONDS = 0.2
"""Pause of a slow reader between two blocks: 80 kB/s, little more than the sound itself."""
SAMPLE_SECONDS = 0.2


def find_api(server: JobServer) -> psutil.Process:
    """Return the process that answers on the server's port.

    The supervisor holds the socket too, and its children are tried first.
    """
    port = urlsplit(server.url).port
    root = psutil.Process(server.process.pid)
    for process in [*root.children(recursive=True), root]:
        sockets = process.net_connections("tcp")
        if any(each.status == "LISTEN" and each.laddr.port == port for each in sockets):
            return process
    raise AssertionError("nobody listens")


def read_figures(process: psutil.Process) -> dict[str, int]:
    """Return threads, open files and resident bytes of a process."""
    with process.oneshot():
        memory = process.memory_info().rss
        return {"threads": process.num_threads(), "files": process.num_fds(), "bytes": memory}


class Caller:
    """One call over a connection of its own, with a small buffer."""

    def __init__(self, server: JobServer, body: dict[str, Any], key: str | None) -> None:
        self._address = urlsplit(server.url)
        self._body, self._key = json.dumps(body).encode(), key
        self.received = 0

    async def read(self, begin: asyncio.Event, pause: float) -> None:
        """Send the call, and read its answer slowly once `begin` is set."""
        reader, writer = await self._send()
        try:
            await begin.wait()
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            while block := await reader.read(BLOCK_BYTES):
                self.received += len(block)
                await asyncio.sleep(pause)
        finally:
            writer.close()

    async def hang_up(self, end: asyncio.Event) -> None:
        """Send the call, and close the connection when `end` is set."""
        _, writer = await self._send()
        await end.wait()
        writer.close()

    async def _send(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = str(self._address.hostname), self._address.port
        reader, writer = await asyncio.open_connection(host, port, limit=BLOCK_BYTES)
        key = f"Idempotency-Key: {self._key}\r\n" if self._key else ""
        writer.write(
            f"POST /v1/audio/generate HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{key}"
            f"Content-Length: {len(self._body)}\r\n\r\n".encode()
            + self._body
        )
        await writer.drain()
        return reader, writer


async def run_round(server: JobServer, number: int, callers: int, seconds: float) -> None:
    """Let all callers wait for their sound, and check what they received."""
    body = {"input": "calm piano", "audio_length": seconds}
    at_once, later = asyncio.Event(), asyncio.Event()
    at_once.set()
    share, key = callers // 4, f"round {number}"
    slow = [
        Caller(server, {**body, "stream": is_streamed}, key)
        for is_streamed in (False, True)
        for _ in range(share)
    ]
    stalled = [Caller(server, {**body, "stream": True}, key) for _ in range(share)]
    others = [Caller(server, body, None) for _ in range(callers - 3 * share)]
    async with asyncio.TaskGroup() as group:
        reads = [group.create_task(each.read(at_once, PAUSE_SECONDS)) for each in slow]
        for caller in stalled:
            group.create_task(caller.read(later, 0.0))
        for caller in others:
            group.create_task(caller.hang_up(later))
        await asyncio.wait(reads)
        later.set()
    # 16-bit mono at 32 kHz, with a header of the file and its tags.
    least = round(seconds * 32_000) * 2
    received = {each.received for each in (*slow, *stalled)}
    assert all(least <= size < least + 10_000 for size in received), received


async def sample(process: psutil.Process, peak: dict[str, int]) -> None:
    """Keep the highest figures of a process in `peak`, until cancelled."""
    while True:
        for name, value in read_figures(process).items():
            peak[name] = max(peak.get(name, 0), value)
        await asyncio.sleep(SAMPLE_SECONDS)


async def measure(server: JobServer, callers: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Return the figures of the API process before, at the peak and after each round."""
    process = find_api(server)
    before, peak, after = read_figures(process), dict[str, int](), []
    sampling = asyncio.create_task(sample(process, peak))
    for number in range(rounds):
        await run_round(server, number, callers, seconds)
        await asyncio.sleep(3)
        after.append(read_figures(process))
    sampling.cancel()
    return {"callers": callers, "seconds": seconds, "before": before, "peak": peak, "after": after}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    began = time.monotonic()
    with data_folder() as folder, job_server(folder, **SETTINGS) as server:
        figures = asyncio.run(measure(server, options.callers, options.seconds, options.rounds))
    print(json.dumps({**figures, "took": round(time.monotonic() - began, 1)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
