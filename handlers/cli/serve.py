"""`musicgen serve all|api|worker|relay|model`: the job API, its workers, and one model."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from handlers.cli.options import Commands, add_server_options
from handlers.cli.serve_model import serve_model
from handlers.cli.statuses import EXIT_AWAY, EXIT_FAILED, EXIT_MISCONFIGURED
from handlers.doctor.plan import PARTS, ServerPlan
from handlers.doctor.service_checks import PASSING
from handlers.doctor.start import check_start
from musicgen.errors import MusicGenError
from musicgen.net.listen import bind_sockets, describe_address
from musicgen.process import startup
from musicgen.process.parent import end_with_parent
from musicgen.process.resources import limit_kept_memory
from musicgen.process.tracing import start_tracing
from musicgen.settings import Settings
from musicgen.settings.job_api import ApiSettings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from handlers.job_api.store.files import JobFiles
    from handlers.job_api.worker.health_server import HealthServer
    from handlers.job_api.worker.metrics import WorkerMetrics

logger = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 75
LAST_ANSWERS_SECONDS = 30
RELAYED_AT_ONCE = 8


def add(commands: Commands) -> None:
    """Add the command `serve`."""
    parser = commands.add_parser(
        "serve",
        help="serve the job API and its web page",
        description="`api` accepts jobs, `worker` generates here, `relay` generates on a remote "
        "platform; `all` starts the parts required by the settings. Without DATABASE_URL they "
        "share an embedded PostgreSQL in the data folder. `model` needs no database.",
    )
    parser.add_argument("part", choices=(*PARTS, "model"), help="what to start")
    add_server_options(parser)
    parser.add_argument("--socket", type=int, action="append", help=argparse.SUPPRESS)
    parser.add_argument("--supervised", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace, settings: Settings) -> int:
    """Serve, or end with one line: status 78 for a permanent fault, 75 for a passing one."""
    # The first process of a container ignores signals without a handler. A worker would load its
    # model and take jobs after it was told to stop. Each part sets its own handler when it runs.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if options.supervised:
        end_with_parent()
    try:
        is_model = options.part == "model"
        return serve_model(options, settings) if is_model else _serve_part(options, settings)
    except MusicGenError as error:
        sys.stderr.write(f"musicgen: {error}\n")
        return EXIT_AWAY if isinstance(error, PASSING) else EXIT_MISCONFIGURED


def _serve_part(options: argparse.Namespace, settings: Settings) -> int:
    api = ApiSettings.from_env()
    if options.part == "api":
        limit_kept_memory()
    if settings.log_level != "DEBUG":
        for name in ("procrastinate", "uvicorn.error"):
            logging.getLogger(name).setLevel(logging.WARNING)
    plan = ServerPlan(
        *(options.part, settings, api, options.host, options.port, options.workers),
        is_supervised=options.supervised,
    )
    check_start(plan)
    if options.part != "all":
        start_tracing(f"musicgen-{options.part}")
    if options.part == "all":
        from handlers.job_api.worker.supervisor import supervise

        policy = settings.remote.policy
        workers = 0 if policy == "remote" else options.workers
        return supervise(
            *(api, options.host, options.port, workers),
            relay=policy != "local",
            misconfigured=EXIT_MISCONFIGURED,
        )
    from handlers.job_api.store.database import database_url, log_place

    sockets = [socket.socket(fileno=number) for number in options.socket or ()]
    if options.part == "api" and not sockets:
        # Bound before anything starts: a port in use is an error at once.
        sockets = bind_sockets(options.host, options.port)
        logger.info("%s", describe_address(options.host, options.port))
    if not options.supervised:
        log_place(api.database_url, api.data_dir)
    url = database_url(api.database_url, api.data_dir)
    if options.part == "api":
        return _api(url, api, settings, options.host, sockets)
    if options.part == "relay":
        return asyncio.run(_relay(url, api, settings))
    return asyncio.run(_worker(url, api, settings))


def _api(
    url: str, api: ApiSettings, settings: Settings, host: str, sockets: list[socket.socket]
) -> int:
    import uvicorn

    from handlers.job_api.api.app import make_app
    from handlers.job_api.api.draining_server import DrainingServer
    from handlers.job_api.api.middleware.header_timeout import build_protocol
    from handlers.job_api.store.queue import LOCAL, REMOTE
    from musicgen.checkpoints.locate import get_public_name

    remote = settings.remote
    app = make_app(
        url,
        api,
        host=host,
        default_model=get_public_name(settings.model),
        files=_files(api, settings, signs=True),
        to=REMOTE if remote.policy == "remote" else LOCAL,
        overflow_seconds=remote.overflow_seconds if remote.policy == "overflow" else None,
        orphans_to=REMOTE if remote.policy == "fallback" else None,
        spend_limit_usd=None if remote.monthly_cap is None else float(remote.monthly_cap),
    )
    _open_operator_port(app, api)
    # uvicorn raises the signal again when it has stopped: the handler of `_serve` lets the cleanup
    # at the exit run.
    config = uvicorn.Config(
        app,
        http=build_protocol(api.body_seconds),
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=LAST_ANSWERS_SECONDS,
        server_header=False,
        forwarded_allow_ips=list(api.proxies),
    )
    server = DrainingServer(config, app)
    app.state.is_stopping = lambda: server.should_exit
    # The modules' 80,000 objects stay: without them a search for unreachable objects takes no time.
    gc.freeze()
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets)
    return 0 if server.started else EXIT_FAILED


def _open_operator_port(app: FastAPI, api: ApiSettings) -> None:
    """Serve the API's metrics on a port of their own, if it is set."""
    if api.metrics_port is None:
        return
    from handlers.job_api.api.operator_port import MonitoredApi
    from handlers.job_api.worker.health_server import HealthServer

    monitored = MonitoredApi(app)
    HealthServer(api.metrics_host, api.metrics_port, monitored).watch(monitored)


async def _worker(url: str, api: ApiSettings, settings: Settings) -> int:
    startup.begin()
    from handlers.job_api.store.database import open_pool
    from handlers.job_api.store.deletions import finish_deletions
    from handlers.job_api.store.maintenance import maintain
    from handlers.job_api.store.notifications import CANCELLED, JobNotifications
    from handlers.job_api.store.queue import LOCAL, REMOTE, open_queue
    from handlers.job_api.store.schema import migrate
    from handlers.job_api.worker.fetch_stage import FetchRules, FetchStage
    from handlers.job_api.worker.local_executor import LocalExecutor
    from handlers.job_api.worker.model_swap import ModelSwap
    from handlers.job_api.worker.worker import Worker, WorkerRole
    from handlers.model_survey import ModelSurvey
    from handlers.serving import Serving
    from musicgen.predictor import Predictor

    health = _health(api, settings)
    files = _files(api, settings)
    storage = None if settings.bucket.name else files.storage
    predictor = Predictor.load(settings, storage)
    predictor.warm_up()
    startup.ready()
    serving = Serving(predictor, settings.input_networks)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(url))
        await migrate(pool)
        app = await open_queue(pool)
        swap, survey = ModelSwap(serving, pool), ModelSurvey()
        elsewhere = REMOTE if settings.remote.policy == "fallback" else None
        cancellations = JobNotifications(url, CANCELLED)
        await stack.enter_async_context(cancellations.run())
        executor = LocalExecutor(serving, pool, app, files, elsewhere, cancellations)
        metrics = health.metrics if health else None
        rules = FetchRules.from_settings(api, settings.input_networks, elsewhere)
        role = WorkerRole(
            *(LOCAL, serving.slots, executor, lambda: serving.models, lambda: swap.loading),
            predictor.device,
            FetchStage(pool, app, files.uploads, rules, metrics),
            serving.licences,
            *(lambda: survey.missing, lambda: predictor.find_missing_parts(survey.missing)),
        )
        worker = Worker(pool, app, role, api.drain, api.data_dir, metrics)
        worker.stop_on_signals()
        count = metrics.orphans.inc if metrics else (lambda _: None)
        beside = [
            asyncio.create_task(swap.run()),
            asyncio.create_task(survey.run(lambda: worker.is_idle)),
            asyncio.create_task(maintain(pool, app, files, api, elsewhere, count)),
            asyncio.create_task(finish_deletions(pool, files)),
        ]
        logger.info("worker %s accepts jobs", worker.name)
        if health is not None:
            health.metrics.record_start(startup.timeline())
            health.watch(worker)
        await worker.run()
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
    predictor.close()
    return EXIT_FAILED if worker.lost_device else 0


async def _relay(url: str, api: ApiSettings, settings: Settings) -> int:
    from handlers.job_api.store.database import open_pool
    from handlers.job_api.store.queue import LOCAL, REMOTE, open_queue
    from handlers.job_api.store.schema import migrate
    from handlers.job_api.store.spending import SqlLedger
    from handlers.job_api.worker.remote_executor import RemoteExecutor
    from handlers.job_api.worker.worker import Worker, WorkerRole
    from musicgen.remote.guarded import GuardedDeployment
    from musicgen.storage.factory import open_bucket

    health = _health(api, settings)
    files, remote = _files(api, settings), settings.remote
    hybrid = GuardedDeployment.from_settings(remote, SqlLedger(url))
    storage = (
        open_bucket(settings.bucket, settings.spool_dir) if settings.bucket.name else files.storage
    )
    back = LOCAL if remote.policy == "overflow" else None
    async with open_pool(url) as pool:
        await migrate(pool)
        app = await open_queue(pool)
        executor = RemoteExecutor(hybrid, pool, app, files, storage, api.attempts, back)
        role = WorkerRole(REMOTE, RELAYED_AT_ONCE, executor, tuple, device=hybrid.label)
        metrics = health.metrics if health else None
        worker = Worker(pool, app, role, api.drain, api.data_dir, metrics)
        worker.stop_on_signals()
        if health is not None:
            health.metrics.record_start(startup.timeline())
            health.watch(worker)
        logger.info("relay %s sends jobs to %s", worker.name, hybrid.label)
        await worker.run()
    return 0


def _health(api: ApiSettings, settings: Settings) -> HealthServer[WorkerMetrics] | None:
    """Start the health server before anything is loaded, or return None if it is not set."""
    if api.metrics_port is None:
        return None
    from handlers.job_api.worker.health_server import HealthServer
    from handlers.job_api.worker.metrics import WorkerMetrics
    from musicgen.storage.factory import count_waiting_clips

    waiting = (lambda: count_waiting_clips(settings.spool_dir)) if settings.bucket.name else None
    folders = {"data": api.data_dir, **({"spool": settings.spool_dir} if waiting else {})}
    metrics = WorkerMetrics(waiting, folders)
    return HealthServer(api.metrics_host, api.metrics_port, metrics)


def _files(api: ApiSettings, settings: Settings, *, signs: bool = False) -> JobFiles:
    """Return the files of jobs. `signs`: conversions are signed where a key is set."""
    from handlers.job_api.store.files import JobFiles
    from musicgen.credentials.opening import open_signer

    signer = open_signer(settings.credentials) if signs else None
    if settings.bucket.name is None:
        return JobFiles(api.data_dir, signer=signer)
    from musicgen.storage.objects import BucketObjects
    from musicgen.storage.spool import Spool

    objects, spool = BucketObjects(settings.bucket), Spool(settings.spool_dir)
    is_redirecting = settings.bucket.delivery == "redirect"
    return JobFiles(api.data_dir, objects, redirects=is_redirecting, spool=spool, signer=signer)
