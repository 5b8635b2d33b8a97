"""Restoring a backup of a job API into an empty or, by force, a used database."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psycopg

from handlers.job_api.store.backup import DATABASE, END, FILES, MANIFEST, BackupManifest
from handlers.job_api.store.embedded_postgres import EmbeddedServer
from handlers.job_api.store.postgres_folder import PostgresFolder
from handlers.job_api.store.postgres_tools import read_server_major, run_program
from handlers.job_api.store.schema import AppliedMigration, check_compatible
from musicgen.disk_errors import translate_disk_errors
from musicgen.errors import BackupError
from musicgen.errors.counts import format_count

_NAME = re.compile(rf"{FILES}/(clips/[\w-]+/[\w.-]+|uploads/\w+)")
_PSQL_OPTIONS = (
    *("--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1", "--file=-"),
)
# Everything of ours and of procrastinate's, as statements that drop it.
_DROPS = """
    SELECT format('DROP TABLE IF EXISTS %s CASCADE;', oid::regclass) FROM pg_class
        WHERE relkind IN ('r', 'p') AND relname ~ '^(musicgen|procrastinate)_'
    UNION ALL
    SELECT format('DROP ROUTINE IF EXISTS %s CASCADE;', oid::regprocedure) FROM pg_proc
        WHERE proname ~ '^(musicgen|procrastinate)_'
    UNION ALL
    SELECT format('DROP TYPE IF EXISTS %s CASCADE;', t.oid::regtype) FROM pg_type t
        LEFT JOIN pg_class c ON c.oid = t.typrelid
        WHERE t.typname ~ '^(musicgen|procrastinate)_'
            AND (t.typtype = 'e' OR (t.typtype = 'c' AND c.relkind = 'c'))
"""
_OTHERS = """
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


@contextmanager
def open_target(configured: str | None, data_dir: Path) -> Iterator[str]:
    """Yield the URL of the database to restore into: the configured or the embedded one.

    A database and folders made for a restore that fails are removed.
    """
    folder = PostgresFolder(data_dir)
    missing = [each for each in (folder.data_dir, *folder.data_dir.parents) if not each.exists()]
    is_new = configured is None and not folder.data.exists()
    try:
        if configured is not None:
            yield configured
        else:
            with EmbeddedServer(data_dir) as server:
                yield server.url
    except BaseException:
        if is_new:
            folder.delete()
        for each in missing:
            with suppress(OSError):
                each.rmdir()
        raise


def restore(url: str, data_dir: Path, source: Path, *, force: bool = False) -> BackupManifest:
    """Restore the backup `source` and return its manifest; no server may run meanwhile.

    Nothing changes if it fails. `force`: replace the jobs, keys and files in the database.

    Raises: `BackupError`, `DatabaseTooNew`, `StorageError`.
    """
    with _open_archive(source) as archive:
        manifest = BackupManifest.from_json(_open_member(archive, source, MANIFEST).read())
        check_compatible([AppliedMigration(**row, age=0.0) for row in manifest.migrations])
        drops = _check_database(url, manifest, force)
        with translate_disk_errors(data_dir), _make_folder(data_dir) as name:
            staged = Path(name)
            _extract_files(archive, source, staged)
            _restore_database(archive, source, url, manifest, drops, staged)
            if manifest.has_files:
                _replace_files(staged, data_dir)
    return manifest


@contextmanager
def _open_archive(source: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(source, mode="r:") as archive:
            yield archive
    except OSError as error:
        raise BackupError(f"{source} cannot be read: {error.strerror or error}.") from error
    except (tarfile.TarError, EOFError) as error:
        raise BackupError(f"{source} is not a backup, or is damaged ({error}).") from error


def _open_member(archive: tarfile.TarFile, source: Path, name: str) -> IO[bytes]:
    try:
        file = archive.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise BackupError(f"{source} is not a backup of this program: it has no {name}.")
    return file


def _make_folder(data_dir: Path) -> tempfile.TemporaryDirectory[str]:
    """Make a temporary folder in `data_dir`. Raises: OSError."""
    data_dir.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=".restore-", dir=data_dir)


def _check_database(url: str, manifest: BackupManifest, force: bool) -> list[str]:
    """Return the statements that empty the database. Raises: `BackupError`."""
    try:
        connection = psycopg.connect(url, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise BackupError(f"The database does not answer: {error}") from error
    with connection:
        major = read_server_major(connection)
        if major < manifest.postgres:
            raise BackupError(
                f"The backup is of PostgreSQL {manifest.postgres}, and the server is an older "
                f"{major}. Restore it into PostgreSQL {manifest.postgres} or newer."
            )
        others = (connection.execute(_OTHERS).fetchone() or (0,))[0]
        if others:
            raise BackupError(
                f"The database has {format_count(others, 'other connection')}. Stop every server "
                "and worker first."
            )
        if not force and (rows := _count_rows(connection)):
            held = ", ".join(format_count(count, name) for name, count in rows.items())
            raise BackupError(
                f"The database is not empty ({held}). Use --force to replace everything in it."
            )
        return [row[0] for row in connection.execute(_DROPS).fetchall()]


def _count_rows(connection: psycopg.Connection) -> dict[str, int]:
    """Return the number of each "job", "key" and "upload", without those at zero."""
    counts = {}
    for name in ("job", "key", "upload"):
        table = f"musicgen_{name}s"
        row = connection.execute("SELECT to_regclass(%s)", [table]).fetchone()
        if row is not None and row[0] is not None:
            found = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
            counts[name] = int(found[0]) if found else 0
    return {name: count for name, count in counts.items() if count}


def _restore_database(
    archive: tarfile.TarFile,
    source: Path,
    url: str,
    manifest: BackupManifest,
    drops: list[str],
    folder: Path,
) -> None:
    """Empty the database and run the dump, in one transaction."""
    with tempfile.TemporaryFile(dir=folder) as script:
        script.write("".join(f"{drop}\n" for drop in drops).encode())
        try:
            with gzip.open(_open_member(archive, source, DATABASE)) as dump:
                shutil.copyfileobj(dump, script)
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise BackupError(f"{source} is damaged ({error}).") from error
        script.seek(0)
        run_program("psql", manifest.postgres, url, _PSQL_OPTIONS, source=script)


def _extract_files(archive: tarfile.TarFile, source: Path, folder: Path) -> None:
    """Write the clips and uploads of a backup below `folder`."""
    is_complete = False
    for member in archive:
        is_complete = is_complete or member.name == END
        if member.name in (MANIFEST, DATABASE, END):
            continue
        match = _NAME.fullmatch(member.name)
        if match is None or not member.isfile() or ".." in member.name:
            raise BackupError(f"{source} is not a backup of this program: it has {member.name!r}.")
        target = folder / match[1]
        target.parent.mkdir(parents=True, exist_ok=True)
        with _open_member(archive, source, member.name) as file, target.open("wb") as copy:
            shutil.copyfileobj(file, copy)
            if copy.tell() != member.size:
                raise BackupError(f"{source} is damaged: {member.name} is cut off.")
        # Retention goes by the time of a file.
        os.utime(target, (member.mtime, member.mtime))
    if not is_complete:
        raise BackupError(f"{source} is damaged: it was cut off.")


def _replace_files(staged: Path, data_dir: Path) -> None:
    """Put the restored folders in the place of those of `data_dir`."""
    for name in ("clips", "uploads"):
        (staged / name).mkdir(exist_ok=True)
        old = staged / f"old-{name}"
        if (data_dir / name).exists():
            (data_dir / name).rename(old)
        (staged / name).rename(data_dir / name)
