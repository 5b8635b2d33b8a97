"""Backup of a job API: one tar file with the database and, without a bucket, the files of jobs.

manifest.json       versions and figures, first in the file
database.sql.gz     pg_dump of one snapshot
data/clips/...      clips of the jobs completed in this snapshot
data/uploads/...    uploads of this snapshot
end                 empty: a file without it was cut off

A backup holds hashes of API keys, webhook secrets and callers' prompts: only its owner can read it.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import psycopg

from handlers.job_api.store.postgres_tools import read_server_major, run_program
from musicgen import __version__
from musicgen.disk_errors import check_replaceable, translate_disk_errors
from musicgen.errors import BackupError

MANIFEST, DATABASE, FILES, END = "manifest.json", "database.sql.gz", "data", "end"
FORM = 1
"""Version of the layout of a backup."""
_DUMP_OPTIONS = ("--no-owner", "--no-privileges", "--encoding=UTF8")


@dataclass(frozen=True)
class BackupManifest:
    """Contents of a backup.

    `migrations`: rows of `musicgen_schema`, none of release 0.1.0. `has_files`: with clips and
    uploads.
    """

    form: int
    version: str
    created_at: str
    postgres: int
    jobs: int
    keys: int
    uploads: int
    has_files: bool
    migrations: list[dict[str, Any]]

    @classmethod
    def from_json(cls, text: bytes) -> BackupManifest:
        """Read a manifest. Raises: `BackupError`."""
        try:
            values = json.loads(text)
            manifest = cls(**{field.name: values[field.name] for field in fields(cls)})
        except (ValueError, KeyError, TypeError):
            raise BackupError(
                "The file is not a backup of this program. Give one from `musicgen backup`."
            ) from None
        if manifest.form > FORM:
            raise BackupError(
                f"The backup was made by version {manifest.version}, newer than this program "
                f"({__version__}). Restore it with that version."
            )
        return manifest


def back_up(url: str, data_dir: Path, target: Path, *, with_files: bool) -> BackupManifest:
    """Write a backup to the new file `target` and return its manifest.

    The servers may run meanwhile: database and files are of one moment. The file appears under its
    name once it is complete.

    Raises: `BackupError`, `StorageError`.
    """
    if target.exists():
        raise BackupError(f"{target} exists already. Choose another name.")
    with translate_disk_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _open_snapshot(url) as (connection, snapshot), _new_file(target) as file:
            manifest = _read_manifest(connection, with_files)
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
                _add_bytes(archive, MANIFEST, json.dumps(asdict(manifest), indent=2).encode())
                _add_database(archive, url, snapshot, manifest.postgres, target.parent)
                for path in _list_files(connection, data_dir) if with_files else ():
                    _add_file(archive, data_dir, path)
                _add_bytes(archive, END, b"")
    return manifest


@contextmanager
def _open_snapshot(url: str) -> Iterator[tuple[psycopg.Connection, str]]:
    """Open a transaction on one state of the database, and the name of this state for pg_dump."""
    try:
        connection = psycopg.connect(url, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise BackupError(f"The database does not answer: {error}") from error
    with connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        row = connection.execute("SELECT pg_export_snapshot()").fetchone()
        assert row is not None, "the function returns a row"
        yield connection, str(row[0])


@contextmanager
def _new_file(target: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file, readable by its owner only, renamed to `target` at the end.

    Raises: `NotWritable` for a device.
    """
    check_replaceable(target)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _read_manifest(connection: psycopg.Connection, has_files: bool) -> BackupManifest:
    if not _has_table(connection, "musicgen_jobs"):
        raise BackupError(
            "The database has no table musicgen_jobs: no job API has used it yet. "
            "Check DATABASE_URL and MUSICGEN_DATA_DIR."
        )
    jobs, keys, uploads = (
        (connection.execute(f"SELECT count(*) FROM musicgen_{name}".encode()).fetchone() or (0,))[0]
        for name in ("jobs", "keys", "uploads")
    )
    columns = ("part", "version", "name", "contracts", "package_version")
    select = f"SELECT {', '.join(columns)} FROM musicgen_schema ORDER BY part, version"
    # A database of release 0.1.0 has no such table.
    has_schema = _has_table(connection, "musicgen_schema")
    rows = connection.execute(select.encode()).fetchall() if has_schema else []
    return BackupManifest(
        form=FORM,
        version=__version__,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        postgres=read_server_major(connection),
        jobs=jobs,
        keys=keys,
        uploads=uploads,
        has_files=has_files,
        migrations=[dict(zip(columns, row, strict=True)) for row in rows],
    )


def _has_table(connection: psycopg.Connection, name: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s)", [name]).fetchone()
    return row is not None and row[0] is not None


def _add_database(
    archive: tarfile.TarFile, url: str, snapshot: str, least: int, folder: Path
) -> None:
    with tempfile.TemporaryFile(dir=folder) as plain, tempfile.TemporaryFile(dir=folder) as packed:
        options = (*_DUMP_OPTIONS, f"--snapshot={snapshot}")
        run_program("pg_dump", least, url, options, target=plain)
        plain.seek(0)
        with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6) as file:
            shutil.copyfileobj(plain, file)
        member = tarfile.TarInfo(DATABASE)
        member.size, member.mode = packed.tell(), 0o600
        packed.seek(0)
        archive.addfile(member, packed)


def _list_files(connection: psycopg.Connection, data_dir: Path) -> Iterator[Path]:
    """Yield the files of completed jobs and of uploads."""
    runs = "SELECT id || '-' || queue_id FROM musicgen_jobs WHERE state = 'completed'"
    for (run,) in connection.execute(runs).fetchall():
        # Without unfinished conversions, whose names begin with a dot.
        yield from sorted((data_dir / "clips" / run).glob("[!.]*"))
    for (upload,) in connection.execute("SELECT id FROM musicgen_uploads").fetchall():
        yield data_dir / "uploads" / upload


def _add_file(archive: tarfile.TarFile, data_dir: Path, path: Path) -> None:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        # Its retention has ended meanwhile.
        return
    with file:
        name = f"{FILES}/{path.relative_to(data_dir).as_posix()}"
        member = archive.gettarinfo(arcname=name, fileobj=file)
        member.mode, member.uid, member.gid, member.uname, member.gname = 0o600, 0, 0, "", ""
        archive.addfile(member, file)


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o600
    archive.addfile(member, io.BytesIO(data))
