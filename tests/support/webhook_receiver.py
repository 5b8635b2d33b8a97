"""A receiver of webhooks on loopback."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver:
    """Takes webhooks after refusing the first `refusals` of them, each after `seconds`."""

    def __init__(self, refusals: int = 0, seconds: float = 0.0) -> None:
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.asked = 0
        self.seconds = seconds
        receiver, counting = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                with counting:  # each call has a thread of its own
                    receiver.asked += 1
                    number = receiver.asked
                body = self.rfile.read(int(self.headers["content-length"]))
                time.sleep(receiver.seconds)
                if self.path == "/moved":
                    self.send_response(307)
                    self.send_header("Location", "/taken")
                elif number <= refusals:
                    self.send_response(503)
                else:
                    receiver.taken.append(({k.lower(): v for k, v in self.headers.items()}, body))
                    self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def until(self, taken: int = 0, asked: int = 0, seconds: float = 30) -> None:
        """Wait for a number of calls."""
        for _ in range(int(seconds * 20)):
            if len(self.taken) >= taken and self.asked >= asked:
                return
            time.sleep(0.05)
        raise AssertionError(f"asked {self.asked} times, taken {len(self.taken)}")
