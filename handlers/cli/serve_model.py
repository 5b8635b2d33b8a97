"""`musicgen serve model`: one model behind HTTP, for SageMaker, Vertex AI and Cloud Run."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import logging
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from handlers.call_body import BODY_SECONDS
from handlers.cli.statuses import EXIT_FAILED
from handlers.hf_endpoint import find_model
from musicgen.errors import CheckpointNotFound, MissingDependency
from musicgen.net.listen import bind_sockets
from musicgen.process import startup
from musicgen.settings import ModelServerSettings, Settings

if TYPE_CHECKING:
    from handlers.model_server.app import ModelServer
    from musicgen.predictor import Predictor

ARTIFACTS = Path("/opt/ml/model")
"""Folder with the contents of a SageMaker model's archive."""
KEEP_ALIVE_SECONDS = 75

logger = logging.getLogger(__name__)


def serve_model(options: argparse.Namespace, settings: Settings) -> int:
    """Serve until SIGTERM, and return the exit status.

    The platform's own port replaces that of the options. Health checks work during the load.

    Raises: the errors of `Predictor.load`; `SettingsError` for a port in use.
    """
    startup.begin()
    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        raise MissingDependency("uvicorn", "The model server", "api")
    import uvicorn

    if settings.log_level != "DEBUG":
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    from handlers.job_api.api.middleware.header_timeout import build_protocol
    from handlers.model_server.app import ModelServer, make_app

    server_settings = ModelServerSettings.from_env()
    if found := find_model(ARTIFACTS):
        settings = replace(settings, model=found)
    platform = server_settings.platform
    host, port = options.host, server_settings.port or options.port
    # Bound before anything starts: a port in use is an error at once.
    sockets = bind_sockets(host, port)
    logger.info("model server address=%s:%d platform=%s", host, port, platform)
    model_server = ModelServer(settings, server_settings)
    run = _ServerLife(model_server, settings, server_settings)
    config = uvicorn.Config(
        make_app(model_server, run.live, server_settings),
        http=build_protocol(BODY_SECONDS),
        lifespan="on",
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=server_settings.stop_seconds,
        server_header=False,
    )

    class ModelHttpServer(uvicorn.Server):
        """Server that ends its running calls in time."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            """Tell the calls, wait for the last answers, and stop."""
            model_server.begin_stop()
            await super().shutdown(sockets)

    server = ModelHttpServer(config)
    run.end = lambda: setattr(server, "should_exit", True)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets)
    if run.error is not None:
        raise run.error
    return 0 if server.started and not run.lost_device else EXIT_FAILED


class _ServerLife:
    """Life of one model server: its load in a thread, and the reason of its end."""

    def __init__(
        self, model_server: ModelServer, settings: Settings, own: ModelServerSettings
    ) -> None:
        self._server, self._settings = model_server, settings
        self._own = own
        self.error: BaseException | None = None
        self.lost_device = False
        self.end: Callable[[], None] = lambda: None

    @asynccontextmanager
    async def live(self) -> AsyncIterator[None]:
        """Load the model beside the answers to health checks, and close it at the end."""
        task = asyncio.create_task(self._load_and_watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _load_and_watch(self) -> None:
        loop = asyncio.get_running_loop()
        loaded: asyncio.Future[Predictor] = loop.create_future()
        # Its own daemon thread: SIGTERM during the load must not wait for its end.
        threading.Thread(target=self._load, args=(loop, loaded), daemon=True).start()
        try:
            predictor = await loaded
        except Exception as error:
            self.error = error
            self.end()
            return
        try:
            calls = self._server.open(predictor)
            startup.ready()
            await calls.lost_device.wait()
            logger.error("The device is lost; the server ends for another process.")
            self.lost_device = True
            self.end()
            await asyncio.Event().wait()
        finally:
            predictor.close()

    def _load(self, loop: asyncio.AbstractEventLoop, loaded: asyncio.Future[Predictor]) -> None:
        from musicgen.predictor import Predictor

        def settle(predictor: Predictor | None, error: BaseException | None) -> None:
            if loaded.cancelled():
                return
            if error is not None:
                loaded.set_exception(error)
            elif predictor is not None:
                loaded.set_result(predictor)

        try:
            settings = self._settings
            if self._own.storage_uri:
                model = _fetch_artifacts(self._own.storage_uri, self._own, settings.weights_dir)
                settings = replace(settings, model=model)
            predictor = Predictor.load(settings, answers_clips=True)
            predictor.warm_up()
        except Exception as error:
            outcome: tuple[Predictor | None, BaseException | None] = None, error
        else:
            outcome = predictor, None
        with contextlib.suppress(RuntimeError):  # The loop has ended.
            loop.call_soon_threadsafe(settle, *outcome)


def _fetch_artifacts(address: str, own: ModelServerSettings, weights: Path) -> str:
    """Download Vertex AI's copy of a model's artifacts, and return the model in it.

    Raises: `CheckpointNotFound`, `DiskFull`, `NotWritable`.
    """
    from musicgen.checkpoints.google_bucket import fetch_folder

    name = hashlib.sha256(address.encode()).hexdigest()[:16]
    target = weights.expanduser() / f"vertex-{name}"
    folder = fetch_folder(address, target, own.storage_emulator, own.metadata_host)
    found = find_model(folder)
    if found is None:
        raise CheckpointNotFound(
            f"{address} has no model: upload a packed file, or a folder with config.json, as the "
            "artifacts"
        )
    return found
