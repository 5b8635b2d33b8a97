"""Each alert is driven to firing and back: the real service, a real Prometheus, the shipped rules.

Windows and pauses of the rules are thirty times shorter. Not here: MusicGenCertificateExpires,
whose figures are cert-manager's.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.handlers.job_api.test_webhooks import Receiver
from tests.support.clips import wav
from tests.support.external_postgres import external_postgres
from tests.support.job_server import data_folder, environment, free_port, start, stop
from tests.support.prometheus_server import is_firing, prometheus_server, wait_for
from tests.support.s3_server import Bucket, s3_server

FACTOR, SECONDS = 30, 180.0
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus on the PATH"),
]


@dataclass
class Rig:
    """An API and a worker with their own processes, and Prometheus."""

    folder: Path
    database: str
    variables: dict[str, object]
    http: httpx.Client
    ports: dict[str, int]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    prometheus: httpx.Client | None = None

    def start(self, part: str) -> None:
        own = {**self.variables, "MUSICGEN_METRICS_PORT": self.ports[f"{part} metrics"]}
        env = environment(self.folder / "data", DATABASE_URL=self.database, **own)
        options = ("--port", str(self.ports["api"])) if part == "api" else ()
        self.processes[part] = start(part, env, self.folder / f"{part}.log", *options)

    def wait_until_ready(self, part: str) -> None:
        url = f"http://127.0.0.1:{self.ports[f'{part} metrics']}/readyz"
        wait_for(lambda: httpx.get(url).status_code == 200, 90, f"{part} does not start")

    def signal(self, part: str, number: int) -> None:
        self.processes[part].send_signal(number)

    def submit(self, **fields: object) -> str:
        answer = self.http.post("/generate", json={"prompt": "x", "duration": 0.2, **fields})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    def cancel_all(self) -> None:
        for state in ("queued", "running"):
            page = self.http.get("/v1/jobs", params={"limit": 100, "status": state}).json()
            for job in page["jobs"]:
                self.http.delete(f"/v1/jobs/{job['job_id']}")

    def drive(self, alert: str, act: Callable[[], object] = lambda: None) -> None:
        """Wait until the alert fires, doing `act` meanwhile."""
        self._until(alert, True, act)

    def calm(self, alert: str, act: Callable[[], object] = lambda: None) -> None:
        """Wait until the alert no longer fires, doing `act` meanwhile."""
        self._until(alert, False, act)

    def _until(self, alert: str, fires: bool, act: Callable[[], object]) -> None:
        prometheus = self.prometheus
        assert prometheus is not None

        def look() -> bool:
            act()
            return is_firing(prometheus, alert) is fires

        wait_for(look, SECONDS, f"{alert} {'does not fire' if fires else 'fires on'}")

    def sql(self, statement: str, database: str = "musicgen") -> None:
        url = f"{self.database.removesuffix('musicgen')}{database}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def _rig(folder: Path, database: str, **variables: object) -> Iterator[Rig]:
    ports = {name: free_port() for name in ("api", "api metrics", "worker metrics")}
    own: dict[str, object] = {
        "MUSICGEN_SLOTS": 4,
        "MUSICGEN_JOBS_PER_KEY": 500,
        "MUSICGEN_RATE_LIMIT": "100000/minute",
        "MUSICGEN_WORKER_TIMEOUT": 5,
        "MUSICGEN_WEBHOOK_NETWORKS": "127.0.0.0/8",
        "MUSICGEN_REMOTE_MONTHLY_CAP": 10,
        **variables,
    }
    with httpx.Client(base_url=f"http://127.0.0.1:{ports['api']}", timeout=30) as http:
        rig = Rig(folder, database, own, http, ports)
        targets = {f"musicgen-{p}": f"127.0.0.1:{ports[f'{p} metrics']}" for p in ("api", "worker")}
        try:
            for part in ("api", "worker"):
                rig.start(part)
                rig.wait_until_ready(part)
            with prometheus_server(folder, targets, FACTOR) as prometheus:
                rig.prometheus = prometheus
                yield rig
        finally:
            for process in rig.processes.values():
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with data_folder(with_database=False) as folder, external_postgres(folder) as url:
        yield url


@pytest.fixture(scope="module")
def rig(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """With a small disk for the data, where this machine lets us mount one."""
    folder = tmp_path_factory.mktemp("alerts")
    data = folder / "data"
    data.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(data)]
    has_disk = subprocess.run(mount, capture_output=True).returncode == 0
    try:
        with _rig(folder, database) as running:
            yield running
    finally:
        if has_disk:
            subprocess.run(["umount", "--lazy", data], check=True)


@contextmanager
def _file_in_place_of(folder: Path) -> Iterator[None]:
    """Whoever writes below `folder` meanwhile fails."""
    aside = folder.with_name(f"{folder.name}-aside")
    if folder.exists():
        folder.rename(aside)
    while True:
        # A job that ends just now may make the folder again.
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(IsADirectoryError):
            folder.write_text("not a folder")
            break
    try:
        yield
    finally:
        folder.unlink()
        if aside.exists():
            aside.rename(folder)


def test_slow_starts(rig: Rig) -> None:
    stop(rig.processes["worker"])
    rig.start("worker")
    time.sleep(0.5)
    rig.signal("worker", signal.SIGSTOP)
    time.sleep(8)
    rig.signal("worker", signal.SIGCONT)
    rig.drive("MusicGenSlowStarts")
    rig.calm("MusicGenSlowStarts")


def test_no_process_answers(rig: Rig) -> None:
    stop(rig.processes["api"])
    rig.drive("MusicGenApiDown")
    rig.start("api")
    rig.wait_until_ready("api")
    rig.calm("MusicGenApiDown")


def test_no_worker_and_a_worker_down(rig: Rig) -> None:
    stop(rig.processes["worker"])
    rig.submit()
    rig.drive("MusicGenWorkerDown")
    rig.drive("MusicGenNoWorkers")
    rig.start("worker")
    rig.calm("MusicGenNoWorkers")
    rig.calm("MusicGenWorkerDown")


def test_a_queue_that_is_stuck_and_long_waits(rig: Rig) -> None:
    for _ in range(5):
        rig.submit(duration=300, variations=8)
    rig.drive("MusicGenQueueStuck")
    rig.cancel_all()
    rig.calm("MusicGenQueueStuck", rig.submit)

    def keep_waiting() -> None:
        if rig.http.get("/readyz").json()["jobs_waiting"] < 30:
            for _ in range(10):
                rig.submit(duration=20)

    rig.drive("MusicGenJobsWaitLong", keep_waiting)
    rig.cancel_all()
    rig.calm("MusicGenJobsWaitLong", rig.submit)


def test_jobs_that_fail_here_and_those_that_are_wrong(rig: Rig) -> None:
    with _file_in_place_of(rig.folder / "data/clips"):
        rig.drive("MusicGenJobsFail", rig.submit)
    rig.calm("MusicGenJobsFail", rig.submit)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        rig.submit(input_audio="http://10.0.0.1/x", continuation=True)
        assert rig.prometheus is not None and not is_firing(rig.prometheus, "MusicGenJobsFail")
        time.sleep(0.5)


def test_workers_that_are_lost(rig: Rig) -> None:
    for _ in range(4):
        rig.submit(duration=300)
    wait_for(lambda: len(rig.http.get("/v1/jobs?status=running").json()["jobs"]) == 4, 30)
    rig.signal("worker", signal.SIGKILL)
    rig.drive("MusicGenWorkersLost")
    rig.cancel_all()
    rig.start("worker")
    rig.wait_until_ready("worker")
    rig.calm("MusicGenWorkersLost")


def test_errors_of_one_route(rig: Rig) -> None:
    def upload() -> None:
        rig.http.post("/v1/uploads", content=wav(0.2))
        for _ in range(20):
            rig.http.get("/readyz")

    with _file_in_place_of(rig.folder / "data/uploads"):
        rig.drive("MusicGenApiErrors", upload)
    rig.calm("MusicGenApiErrors", upload)


def test_slow_calls(rig: Rig) -> None:
    def hold_the_table() -> None:
        with psycopg.connect(rig.database) as connection:
            connection.execute("LOCK TABLE musicgen_jobs IN ACCESS EXCLUSIVE MODE")
            call = threading.Thread(target=lambda: rig.http.get("/v1/jobs"))
            call.start()
            time.sleep(2.7)
        call.join()

    rig.drive("MusicGenApiSlow", hold_the_table)
    rig.calm("MusicGenApiSlow")


def test_slower_than_real_time(rig: Rig) -> None:
    ended = threading.Event()

    def slow_down() -> None:
        while not ended.wait(0.03):
            rig.signal("worker", signal.SIGSTOP)
            time.sleep(0.6)
            rig.signal("worker", signal.SIGCONT)

    thread = threading.Thread(target=slow_down)
    thread.start()
    try:
        rig.drive("MusicGenSlowerThanRealTime", rig.submit)
    finally:
        ended.set()
        thread.join()
    rig.cancel_all()
    rig.calm("MusicGenSlowerThanRealTime", lambda: rig.submit(duration=5))


def test_the_database_is_away(rig: Rig) -> None:
    rig.sql("ALTER DATABASE musicgen WITH ALLOW_CONNECTIONS false", "postgres")
    try:
        rig.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = 'musicgen'", "postgres")  # fmt: skip
        rig.drive("MusicGenDatabaseDown")
    finally:
        rig.sql("ALTER DATABASE musicgen WITH ALLOW_CONNECTIONS true", "postgres")
    rig.calm("MusicGenDatabaseDown")


def test_a_full_disk(rig: Rig) -> None:
    data = rig.folder / "data"
    if not data.is_mount():
        pytest.skip("needs the right to mount a small disk")
    ballast = data / "ballast"
    ballast.write_bytes(bytes(int(shutil.disk_usage(data).free * 0.95)))
    rig.drive("MusicGenDiskFull")
    ballast.unlink()
    rig.calm("MusicGenDiskFull")


def test_the_month_s_cap_is_near(rig: Rig) -> None:
    month = "to_char(now() AT TIME ZONE 'utc', 'YYYY-MM')"
    rig.sql(f"INSERT INTO musicgen_spent (month, usd) VALUES ({month}, 9)")
    rig.drive("MusicGenSpendingNearCap")
    rig.sql("DELETE FROM musicgen_spent")
    rig.calm("MusicGenSpendingNearCap")


def test_webhooks_that_are_not_taken(rig: Rig) -> None:
    nobody = f"http://127.0.0.1:{free_port()}/hook"
    rig.drive("MusicGenWebhooksFail", lambda: rig.submit(webhook_url=nobody))
    receiver = Receiver()

    def deliver() -> None:
        for _ in range(4):
            rig.submit(webhook_url=f"{receiver.url}/taken")

    rig.calm("MusicGenWebhooksFail", deliver)


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with s3_server() as running:
        yield running


def test_clips_that_wait_for_their_bucket(bucket: Bucket, database: str, tmp_path: Path) -> None:
    own: dict[str, object] = {**bucket.env, "MUSICGEN_SPOOL_DIR": tmp_path / "spool"}
    with _rig(tmp_path, database, **own) as rig:
        for each in bucket.client.list_objects(Bucket="music").get("Contents", []):
            bucket.client.delete_object(Bucket="music", Key=each["Key"])
        bucket.client.delete_bucket(Bucket="music")
        rig.submit()
        rig.drive("MusicGenClipsNotUploaded")
        bucket.client.create_bucket(Bucket="music")
        env = environment(tmp_path / "data", DATABASE_URL=database, **rig.variables)
        command = [sys.executable, "-m", "handlers.cli", "uploads", "retry"]
        subprocess.run(command, env=env, check=True, capture_output=True)
        rig.calm("MusicGenClipsNotUploaded")
