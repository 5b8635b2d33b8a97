"""Callers that do what no client library lets them: slow bodies, early ends, endless chunks."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import psutil


def send_raw(port: int, data: bytes, seconds: float = 60) -> bytes:
    """Send bytes, keep the connection open, and return everything until the server closes it."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(data)
        received = bytearray()
        while piece := connection.recv(65536):
            received += piece
            head, end, body = bytes(received).partition(b"\r\n\r\n")
            if end and len(body) >= _find_length(head):
                break
        return bytes(received)


def send_partial_body(port: int, path: str) -> tuple[int, dict[str, Any]]:
    """Begin a body and never end it; return the status and the JSON of the answer."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    answer = send_raw(port, f'{head}Content-Length: 100\r\n\r\n{{"prompt":'.encode())
    top, _, body = answer.partition(b"\r\n\r\n")
    return int(top.split()[1]), json.loads(body)


def wait_until_idle(pid: int, seconds: float = 20) -> None:
    """Wait until a process computes no longer."""
    program = psutil.Process(pid)
    end = time.monotonic() + seconds
    while program.cpu_percent(0.5) > 20:
        assert time.monotonic() < end, "it still computes"


def wait_until_busy(pid: int, seconds: float = 20) -> None:
    """Wait until a process computes."""
    program = psutil.Process(pid)
    before = sum(program.cpu_times()[:2])
    end = time.monotonic() + seconds
    while sum(program.cpu_times()[:2]) < before + 0.2:
        assert time.monotonic() < end
        time.sleep(0.02)


def _find_length(head: bytes) -> int:
    for line in head.lower().splitlines():
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 2**40
