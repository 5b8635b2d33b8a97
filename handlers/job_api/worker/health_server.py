"""HTTP server of a process for `/healthz`, `/readyz` and `/metrics`, on a port for operators.

It runs in its own thread and starts before the model is loaded. Probes therefore see a living
process, not ready yet, during the start.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client.exposition import CONTENT_TYPE_LATEST

from musicgen.errors import SettingsError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

_JSON = "application/json"


class RenderedMetrics(Protocol):
    """Metrics of a process."""

    def render(self) -> bytes:
        """Return the metrics in Prometheus's text format."""
        ...


class MonitoredWorker(Protocol):
    """Worker or API seen by probes. `lost_device`: only a new process can work again."""

    lost_device: bool

    @property
    def takes_jobs(self) -> bool:
        """Whether the worker takes new jobs."""
        ...


M = TypeVar("M", bound=RenderedMetrics)


class HealthServer(Generic[M]):
    """Health server, listening from construction and waiting for its worker.

    Raises: `SettingsError` if the port is in use.
    """

    def __init__(self, host: str, port: int, metrics: M) -> None:
        self.metrics = metrics
        self._worker: MonitoredWorker | None = None
        try:
            self._server = make_server(host, port, self._answer, _ThreadingServer, _SilentHandler)
        except OSError as error:
            problem = f"must be a free port of {host}"
            raise SettingsError(
                "MUSICGEN_METRICS_PORT", problem, value=port, advice=f"{error.strerror}."
            ) from error
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True, name="health").start()

    def watch(self, worker: MonitoredWorker) -> None:
        """Report the state of `worker` from now on."""
        self._worker = worker

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        status, content_type, body = self._build_response(environ.get("PATH_INFO", ""))
        start_response(status, [("Content-Type", content_type), ("Content-Length", str(len(body)))])
        return [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]

    def _build_response(self, path: str) -> tuple[str, str, bytes]:
        """Return the HTTP status, content type and body for a path."""
        worker = self._worker
        if path == "/metrics":
            return "200 OK", CONTENT_TYPE_LATEST, self.metrics.render()
        if path == "/healthz":
            is_healthy = worker is None or not worker.lost_device
            return _build_probe_response(is_healthy, "the device is lost")
        if path == "/readyz":
            is_ready = worker is not None and worker.takes_jobs
            return _build_probe_response(is_ready, "loading or stopping")
        return "404 Not Found", _JSON, b'{"status": "see /metrics, /healthz, /readyz"}'


def _build_probe_response(is_ok: bool, problem: str) -> tuple[str, str, bytes]:
    status = "200 OK" if is_ok else "503 Service Unavailable"
    return status, _JSON, json.dumps({"status": "ok" if is_ok else problem}).encode()


class _ThreadingServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _SilentHandler(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing: probes call every few seconds."""
