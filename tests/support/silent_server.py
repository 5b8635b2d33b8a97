"""A web server on loopback that says nothing to those who ask for a sound, until it is told to."""

from __future__ import annotations

import socket
import threading
import time


class SilentServer:
    """Accepts connections and sends `sound` once it is set.

    `opened` and `closed` count connections. `url` leads to it, under any path.
    """

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/sound.wav"
        self.opened = self.closed = 0
        self.sound: bytes | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def wait_for(self, opened: int = 0, closed: int = 0, seconds: float = 30) -> bool:
        """Whether so many connections were opened and closed in time."""
        end = time.monotonic() + seconds
        while self.opened < opened or self.closed < closed:
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def _accept(self) -> None:
        while True:
            connection, _ = self.socket.accept()
            self.opened += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(0.05)
            while True:
                try:
                    if not connection.recv(4096):
                        break
                except TimeoutError:
                    pass
                except OSError:
                    break
                if self.sound is not None:
                    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(self.sound)}\r\n"
                    connection.sendall(f"{head}Connection: close\r\n\r\n".encode() + self.sound)
                    break
        self.closed += 1
