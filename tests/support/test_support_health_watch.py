"""The watch sees each way in which a server keeps its own callers waiting, also beside others."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.health_watch import ANSWER_SECONDS, HealthWatch

pytestmark = pytest.mark.slow
SPIN = "while True: pass"
SERVER = """
import asyncio, os, subprocess, sys, threading, time

def spin(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass

def start_children(number):
    children = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    end = time.monotonic() + 4
    while time.monotonic() < end:
        spin(0.15)
        yield
    for child in children:
        child.kill()
        child.wait()

async def answer(reader, writer):
    while line := await reader.readline():
        if line == b"\\r\\n":
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")

async def main(fault):
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    if fault == "a call that blocks":
        time.sleep(1.5)
    elif fault == "work on the loop":
        spin(1.5)
    elif fault == "a thread with the lock":
        # `sum` of a range does not look whether others wait.
        await asyncio.to_thread(sum, range(3 * 10**8))
    elif fault == "too many children":
        for _ in start_children(10 * os.cpu_count()):
            await asyncio.sleep(0)
    elif fault == "none":
        for _ in range(20):
            spin(0.05)
            await asyncio.sleep(0)
    print("over", flush=True)
    await asyncio.sleep(60)

asyncio.run(main(sys.argv[1]))
"""


@contextmanager
def _run_spinning(number: int) -> Iterator[None]:
    """Other programs that use all the processor time they get."""
    programs = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(number)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def _watch(fault: str) -> HealthWatch:
    command = [sys.executable, "-c", SERVER, fault]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as server:
        assert server.stdin is not None and server.stdout is not None
        try:
            port = int(server.stdout.readline())
            with HealthWatch(f"http://127.0.0.1:{port}", server.pid).run() as watch:
                time.sleep(0.1)
                server.stdin.write("begin\n")
                server.stdin.flush()
                assert server.stdout.readline() == "over\n"
                time.sleep(0.1)
        finally:
            server.kill()
    return watch


@pytest.mark.parametrize("others", [0, 2])
@pytest.mark.parametrize(
    "fault",
    ["a call that blocks", "work on the loop", "a thread with the lock", "too many children"],
)
def test_a_server_that_keeps_its_callers_waiting_is_seen(fault: str, others: int) -> None:
    with _run_spinning(others):
        watch = _watch(fault)
    assert watch.answers and watch.worst > ANSWER_SECONDS, vars(watch)


def test_the_waits_that_others_cause_do_not_count() -> None:
    with _run_spinning(3):
        watch = _watch("none")
    assert watch.worst < 0.5 and watch.others > 0.5, vars(watch)
