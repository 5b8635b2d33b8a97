"""`/healthz`, `/readyz` and `/metrics` of a process that serves nothing else.

In a thread of its own, from before the model is loaded: whoever watches a start sees that the
process lives, and that it is not ready yet.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, Protocol
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from handlers.job_api.worker.metrics import TYPE, WorkerMetrics
from musicgen.errors import SettingsError
from musicgen.process import startup

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

_JSON = "application/json"


class Watched(Protocol):
    """A worker: whether it takes jobs, and whether only another process could."""

    lost_device: bool

    @property
    def takes_jobs(self) -> bool: ...


class HealthPort:
    """Listens at once, for a worker that is not there yet.

    Raises: `SettingsError` for a port that is taken.
    """

    def __init__(self, host: str, port: int, metrics: WorkerMetrics) -> None:
        self.metrics = metrics
        self._worker: Watched | None = None
        try:
            self._server = make_server(host, port, self._answer, _Threads, _Quiet)
        except OSError as error:
            why = f"a free port of {host}: {error.strerror}"
            raise SettingsError("MUSICGEN_METRICS_PORT", str(port), why) from error
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True, name="health").start()

    def watch(self, worker: Watched) -> None:
        """From now on it is ready, until it stops."""
        self.metrics.started(startup.timeline())
        self._worker = worker

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        status, kind, body = self._page(environ.get("PATH_INFO", ""))
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]

    def _page(self, path: str) -> tuple[str, str, bytes]:
        worker = self._worker
        if path == "/metrics":
            return "200 OK", TYPE, self.metrics.exposition()
        if path == "/healthz":
            return _said(worker is None or not worker.lost_device, "ok", "the device is lost")
        if path == "/readyz":
            return _said(worker is not None and worker.takes_jobs, "ok", "loading or stopping")
        return "404 Not Found", _JSON, b'{"status": "see /metrics, /healthz, /readyz"}'


def _said(is_so: bool, yes: str, no: str) -> tuple[str, str, bytes]:
    status = "200 OK" if is_so else "503 Service Unavailable"
    return status, _JSON, json.dumps({"status": yes if is_so else no}).encode()


class _Threads(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """A probe every few seconds is no news."""
