"""The embedded database has one owner, stops with its last user, and survives accidents."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from handlers.job_api.store.embedded_postgres import EmbeddedServer
from handlers.job_api.store.postgres_folder import PostgresFolder, write_description
from musicgen.errors import DataFolderError
from tests.support import ROOT
from tests.support.job_server import data_folder, environment, job_server
from tests.support.namespaces import contained, find_contained
from tests.support.postgres import find_keeper, find_postgres

USE = """
import sys, time
from pathlib import Path
from handlers.job_api.store.embedded_postgres import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
print(server.url, flush=True)
time.sleep(600)
"""
SYSTEM = "SELECT system_identifier, pg_backend_pid() FROM pg_control_system()"


@contextmanager
def _user(data: Path, *, in_container: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that uses the server."""
    command = [sys.executable, "-c", USE, str(data)]
    command = contained(command) if in_container else command
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b"postgresql://")
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def _wait_for_end(*processes: psutil.Process) -> None:
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert not alive


def _ask(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(SYSTEM).fetchone()
    assert row is not None
    return int(row[0])


def _ask_patiently(url: str) -> int:
    end = time.monotonic() + 60
    while True:
        try:
            return _ask(url)
        except psycopg.OperationalError:
            assert time.monotonic() < end
            time.sleep(0.1)


def test_it_stops_with_its_last_user_although_that_is_killed(data: Path) -> None:
    """A killed user stayed in the list of users, and the server ran for ever."""
    with _user(data) as first, EmbeddedServer(data) as server:
        postgres, keeper = find_postgres(data), find_keeper(data)
        first.kill()
        first.wait()
        time.sleep(0.5)
        assert _ask(server.url), "it has a user left"
    _wait_for_end(postgres, keeper)
    with _user(data) as only:
        postgres, keeper = find_postgres(data), find_keeper(data)
        only.kill()
        only.wait()
    _wait_for_end(postgres, keeper)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_it_stops_with_the_api_whatever_the_signal(data: Path, number: signal.Signals) -> None:
    with job_server(data, "api") as api:
        postgres, keeper = find_postgres(data), find_keeper(data)
        api.process.send_signal(number)
        status = api.process.wait(30)
        assert status == (-9 if number == signal.SIGKILL else 0)
        if number != signal.SIGKILL:
            assert not postgres.is_running() or postgres.status() == psutil.STATUS_ZOMBIE
    _wait_for_end(postgres, keeper)


def test_containers_of_one_machine_share_a_server(data: Path) -> None:
    """Each started a server of its own on the same data, because neither saw the other's number."""
    with _user(data, in_container=True) as first, EmbeddedServer(data) as server:
        system = _ask(server.url)
        with _user(data, in_container=True) as second:
            assert _ask(server.url) == system
            servers = [p for p in psutil.process_iter(["cmdline"]) if _runs(p, data)]
            assert len(servers) == 1
            find_contained(second).kill()
        assert _ask(server.url) == system
        # The keeper is in the first container and dies with it.
        find_contained(first).kill()
        assert _ask_patiently(server.url) == system


def _runs(process: psutil.Process, data: Path) -> bool:
    command = process.info["cmdline"] or [""]
    return command[0].endswith("/postgres") and str(data / "postgres") in command


def test_an_owner_out_of_reach_is_named(data: Path) -> None:
    with _user(data):
        find_socket = data / "postgres.socket"
        find_socket.unlink()  # as on another machine, with a network file system between
        began = time.monotonic()
        with pytest.raises(DataFolderError, match="in use by the embedded database of "):
            EmbeddedServer(data)
        assert time.monotonic() - began < 30


def test_a_keeper_that_stops_is_waited_for(data: Path) -> None:
    folder = PostgresFolder(data)
    lock = folder.acquire_lock()
    assert lock is not None
    write_description(lock, "stopping")
    with subprocess.Popen([sys.executable, "-c", USE, str(data)], cwd=ROOT) as process:
        time.sleep(3)
        assert process.poll() is None
        os.close(lock)
        with EmbeddedServer(data) as server:
            assert _ask(server.url)
        process.kill()


def test_a_number_used_again_by_another_process_prevents_no_start(data: Path) -> None:
    with EmbeddedServer(data):
        lines = (data / "postgres" / "postmaster.pid").read_text().splitlines()
    owner = (data / "postgres").stat()
    with subprocess.Popen(["sleep", "60"], user=owner.st_uid, group=owner.st_gid) as other:
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            path = data / "postgres" / name
            path.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
            os.chown(path, owner.st_uid, owner.st_gid)
        with EmbeddedServer(data) as server:
            assert _ask(server.url)
        assert other.poll() is None
        other.kill()


def test_a_killed_keeper_and_a_killed_server_come_again(data: Path) -> None:
    with EmbeddedServer(data) as server:
        system, first = _ask(server.url), find_postgres(data)
        first.kill()
        first.wait(30)
        assert _ask_patiently(server.url) == system
        second = find_postgres(data)
        find_keeper(data).kill()
        second.wait(30)
        assert _ask_patiently(server.url) == system
    assert not (data / "postgres" / "postmaster.pid").exists()


def test_a_deleted_folder_stays_deleted(data: Path) -> None:
    """A new database in its place would hide the loss."""
    with EmbeddedServer(data):
        keeper = find_keeper(data)
        shutil.rmtree(data)
        keeper.kill()
        time.sleep(1)
        assert not data.exists()


def test_a_long_path_is_no_obstacle(data: Path) -> None:
    """The kernel allows about a hundred bytes for the path of a socket."""
    deep = data / ("a" * 60) / ("b c" * 20)
    deep.mkdir(parents=True)
    (data / "postgres").rename(deep / "postgres")
    with _user(deep), EmbeddedServer(deep) as server:
        assert _ask(server.url)


def test_a_folder_that_cannot_be_used_is_named(data: Path) -> None:
    (data / "postgres.lock").mkdir()
    with pytest.raises(DataFolderError, match="Is a directory"):
        EmbeddedServer(data)
    (data / "postgres.lock").rmdir()
    (data / "postgres" / "PG_VERSION").write_text("15\n")
    with pytest.raises(DataFolderError, match="found version 15"):
        EmbeddedServer(data)


def test_a_first_start_is_quiet_and_survives_a_killed_one() -> None:
    with data_folder(with_database=False) as data:
        (data / ".postgres.part").mkdir(parents=True)
        (data / ".postgres.part" / "PG_VERSION").write_text("18\n")
        command = [sys.executable, "-m", "handlers.cli", "keys", "list"]
        told = subprocess.run(
            command, cwd=ROOT, env=environment(data), capture_output=True, text=True, check=True
        )
        first, *others = told.stderr.splitlines()
        assert first == f"Data folder: {data}, with an embedded PostgreSQL."
        (only,) = [*others, *told.stdout.splitlines()]
        assert only.startswith("There are no keys.")
