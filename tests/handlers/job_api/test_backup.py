"""`musicgen backup` and `musicgen restore`: the whole way round, and everything they refuse."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from handlers.job_api.store import postgres_tools
from handlers.job_api.store.backup import back_up
from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.restore import restore
from musicgen import __version__
from musicgen.errors import BackupError, DatabaseTooNew, DiskFull
from tests.handlers.job_api.test_security import Guarded
from tests.support import ROOT
from tests.support.clips import wav
from tests.support.disks import full_disk, small_disk
from tests.support.external_postgres import PROGRAMS, external_postgres
from tests.support.job_server import data_folder, environment, job_server, start, stop

WithPool = Callable[[Callable[[Pool], Any]], Any]


def _run(command: str, data: Path, *arguments: object, **settings: object) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "handlers.cli", command, *map(str, arguments)],
        env=environment(data, **settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def external() -> Iterator[str]:
    """The address of a server of another version of PostgreSQL, on TCP with a password."""
    with data_folder(with_database=False) as folder, external_postgres(folder) as url:
        yield url


@pytest.mark.parametrize("kind", ["embedded", "external"])
def test_jobs_keys_and_files_survive_the_whole_way(
    kind: str, external: str, tmp_path: Path
) -> None:
    own: dict[str, object] = {"MUSICGEN_API_AUTH": "on", "MUSICGEN_RATE_LIMIT": "10000/minute"}
    if kind == "external":
        own["DATABASE_URL"] = external
    saved = tmp_path / "saved.tar"
    with data_folder() as data:
        with job_server(data, "api", **own) as server:
            guarded = Guarded(server, {})
            told = _run("keys", data, "create", "one", **own)[1]
            key = guarded.keys["one"] = told.split("key: ")[1].split()[0]
            with guarded.as_("one") as http:
                worker = start("worker", environment(data, **own), tmp_path / "worker.log")
                server.http.headers["Authorization"] = f"Bearer {key}"
                done = server.submit(seed=5)
                server.ended(done)
                assert stop(worker) == 0
                clip = http.get(f"/audio/{done}.wav").content
                upload = http.post("/v1/uploads", content=wav(1.0)).json()["input_audio"]
                plain = server.submit(prompt="waits", seed=6)
                continued = server.submit(duration=2, input_audio=upload, continuation=True)
            # The server runs: a backup is of one moment.
            status, text = _run("backup", data, saved, **own)
            assert status == 0, text
            assert "3 jobs, 1 key, with clips and uploads" in text
            assert stat.S_IMODE(saved.stat().st_mode) == 0o600
            assert [path.name for path in tmp_path.glob("*saved*")] == ["saved.tar"]
            late = server.submit(prompt="after the backup")
            status, text = _run("restore", data, saved, **own)
            assert status == 1 and "Stop every server" in text
        if kind == "external":
            status, text = _run("restore", data, saved, **own)
            assert status == 1 and "not empty (4 jobs, 1 key, 1 upload)" in text, text
            assert "--force" in text
            status, text = _run("restore", data, saved, "--force", **own)
            assert status == 0, text
            _check_restored(data, own, key, (done, plain, continued), clip, late)
    if kind == "embedded":
        with data_folder() as data:
            status, text = _run("restore", data, saved, **own)
            assert status == 0, text
            _check_restored(data, own, key, (done, plain, continued), clip, late)


def _check_restored(
    data: Path, own: dict[str, object], key: str, jobs: tuple[str, str, str], clip: bytes, late: str
) -> None:
    done, plain, continued = jobs
    with job_server(data, key=key, **own) as server:
        assert server.http.get(f"/status/{late}").status_code == 404
        assert server.http.get(f"/audio/{done}.wav").content == clip
        for job_id in (plain, continued):
            assert server.ended(job_id)["status"] == "completed"
            assert server.http.get(f"/audio/{job_id}.wav").status_code == 200
        assert server.ended(server.submit())["status"] == "completed", "new jobs too"


@pytest.fixture
def filled(database: str, with_pool: WithPool) -> str:
    async def fill(pool: Pool) -> None:
        columns = "id, owner, request, request_hash, queue, audio_seconds"
        await query(
            pool,
            f"INSERT INTO musicgen_jobs ({columns}) VALUES ('a', 'o', '{{}}', 'h', 'local', 1)",
        )

    with_pool(fill)
    return database


def _jobs(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM musicgen_jobs ORDER BY id")]


def _change_manifest(saved: Path, **changes: Any) -> Path:
    changed = saved.with_name("changed.tar")
    with tarfile.open(saved) as old, tarfile.open(changed, "w") as new:
        for member in old:
            file = old.extractfile(member)
            assert file is not None
            if member.name == "manifest.json":
                text = json.dumps(json.loads(file.read()) | changes).encode()
                member.size, file = len(text), io.BytesIO(text)  # type: ignore[assignment]
            new.addfile(member, file)
    return changed


def test_a_backup_of_a_newer_program_is_refused(filled: str, tmp_path: Path) -> None:
    saved = tmp_path / "b.tar"
    manifest = back_up(filled, tmp_path, saved, with_files=True)
    row = {"part": "musicgen", "version": 9999, "name": "9999_x", "contracts": True}
    newer = [*manifest.migrations, {**row, "package_version": "9.0"}]
    with pytest.raises(DatabaseTooNew, match=rf"musicgen 9\.0.*musicgen {__version__}"):
        restore(filled, tmp_path, _change_manifest(saved, migrations=newer), force=True)
    with pytest.raises(BackupError, match="Restore it with that version"):
        restore(filled, tmp_path, _change_manifest(saved, form=2), force=True)
    with pytest.raises(BackupError, match="older 18"):
        restore(filled, tmp_path, _change_manifest(saved, postgres=19), force=True)
    assert _jobs(filled) == ["a"]


def test_a_damaged_file_changes_nothing(filled: str, tmp_path: Path) -> None:
    saved = tmp_path / "b.tar"
    clip = tmp_path / "clips" / "x-1" / "1.wav"
    clip.parent.mkdir(parents=True)
    clip.write_bytes(b"old")
    back_up(filled, tmp_path, saved, with_files=True)
    whole = saved.read_bytes()
    with tarfile.open(saved) as archive:
        end = archive.getmember("end").offset
    for size in (0, 100, 700, 3000, end):
        saved.write_bytes(whole[:size])
        with pytest.raises(BackupError):
            restore(filled, tmp_path, saved, force=True)
    saved.write_bytes(b"\0" * 20_000)
    with pytest.raises(BackupError):
        restore(filled, tmp_path, saved, force=True)
    assert _jobs(filled) == ["a"] and clip.read_bytes() == b"old"
    assert not list(tmp_path.glob(".restore-*"))


def test_a_database_damaged_within_the_file_is_named(filled: str, tmp_path: Path) -> None:
    """Bytes that are no compressed data were a traceback, and wrong ones are noticed too."""
    saved = tmp_path / "b.tar"
    back_up(filled, tmp_path, saved, with_files=False)
    whole = saved.read_bytes()
    with tarfile.open(saved) as archive:
        member = archive.getmember("database.sql.gz")
    for at in (12, member.size // 2, member.size - 6):
        damaged = bytearray(whole)
        damaged[member.offset_data + at] ^= 0xFF
        saved.write_bytes(damaged)
        with pytest.raises(BackupError, match="is damaged"):
            restore(filled, tmp_path, saved, force=True)
    assert _jobs(filled) == ["a"]


@pytest.mark.parametrize("kind", ["embedded", "external"])
def test_a_restore_that_fails_leaves_no_new_folder(
    kind: str, filled: str, external: str, tmp_path: Path
) -> None:
    """A damaged file left an empty database, and a server started on it as if it were right."""
    back_up(filled, tmp_path, tmp_path / "b.tar", with_files=False)
    (tmp_path / "cut.tar").write_bytes((tmp_path / "b.tar").read_bytes()[:-20_000])
    (tmp_path / "none.tar").write_bytes(b"\0" * 20_000)
    newer = _change_manifest(tmp_path / "b.tar", postgres=99)
    own = {"DATABASE_URL": external} if kind == "external" else {}
    with data_folder(with_database=False) as data:
        for name in ("cut.tar", "none.tar", "missing.tar", newer.name):
            status, text = _run("restore", data / "deep" / "folder", tmp_path / name, **own)
            assert status == (2 if name == "missing.tar" else 1), text
            assert "Traceback" not in text, text
            assert not data.exists(), (name, list(data.rglob("*")))


def test_a_restore_that_fails_keeps_the_old_folder(filled: str, tmp_path: Path) -> None:
    (tmp_path / "none.tar").write_bytes(b"\0" * 20_000)
    with data_folder() as data:
        (data / "note").write_text("mine")
        before = sorted(path.name for path in data.iterdir())
        assert _run("restore", data, tmp_path / "none.tar")[0] == 1
        assert (data / "postgres" / "PG_VERSION").exists()
        assert set(before) <= {path.name for path in data.iterdir()}


def test_a_restore_to_a_full_disk_names_the_disk(
    filled: str, external: str, tmp_path: Path
) -> None:
    """The message said that the backup could not be read."""
    back_up(filled, tmp_path, tmp_path / "b.tar", with_files=False)
    source = _change_manifest(tmp_path / "b.tar", postgres=1)
    with small_disk(tmp_path / "disk", 1) as disk:
        (disk / "data").mkdir()
        with full_disk(disk), pytest.raises(DiskFull, match="no space left"):
            restore(external, disk / "data", source, force=True)


def test_a_backup_of_a_folder_without_a_database_makes_none(tmp_path: Path) -> None:
    """It was a backup without jobs, of a database made for it."""
    with data_folder(with_database=False) as data:
        status, text = _run("backup", data, tmp_path / "b.tar")
        assert status == 1 and "holds no database" in text
        assert not data.exists() and not (tmp_path / "b.tar").exists()


def test_a_name_with_a_slash_at_its_end_is_a_new_folder(filled: str, tmp_path: Path) -> None:
    """Guards `musicgen backup backups/` that wrote a file named backups."""
    own = {"DATABASE_URL": filled}
    status, text = _run("backup", tmp_path, f"{tmp_path}/backups/", "--without-files", **own)
    assert status == 0, text
    assert len([*(tmp_path / "backups").glob("musicgen-*.tar")]) == 1
    status, text = _run("backup", tmp_path, f"{__file__}/", **own)
    assert (status, "cannot be made: File exists" in text) == (1, True)


def test_a_dump_that_fails_half_way_changes_nothing(filled: str, tmp_path: Path) -> None:
    with psycopg.connect(filled, autocommit=True) as connection:
        # Of another program, so it stays, and the dump cannot create it.
        connection.execute("CREATE FUNCTION other() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    back_up(filled, tmp_path, tmp_path / "b.tar", with_files=False)
    with pytest.raises(BackupError, match=r"psql failed: .*already exists"):
        restore(filled, tmp_path, tmp_path / "b.tar", force=True)
    assert _jobs(filled) == ["a"]


def test_a_name_outside_the_folders_is_refused(filled: str, tmp_path: Path) -> None:
    saved = tmp_path / "b.tar"
    back_up(filled, tmp_path, saved, with_files=False)
    for name in ("data/clips/../../x", "/etc/x", "data/postgres/x", "data/uploads/a/b"):
        evil = tmp_path / "evil.tar"
        evil.write_bytes(saved.read_bytes())
        with tarfile.open(evil, "a") as archive:
            archive.addfile(tarfile.TarInfo(name))
        with pytest.raises(BackupError, match="it has"):
            restore(filled, tmp_path, evil, force=True)


def test_a_backup_does_not_overwrite_and_leaves_no_part(
    filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = tmp_path / "b.tar"
    saved.write_text("mine")
    with pytest.raises(BackupError, match="exists already"):
        back_up(filled, tmp_path, saved, with_files=False)
    assert saved.read_text() == "mine"
    monkeypatch.setattr(postgres_tools, "_list_programs", lambda _: [])
    with pytest.raises(BackupError, match=r"pg_dump 18 or newer is needed .*found: none"):
        back_up(filled, tmp_path, tmp_path / "c.tar", with_files=False)
    assert list(tmp_path.iterdir()) == [saved]


def test_an_older_pg_dump_is_not_used_for_a_newer_server() -> None:
    assert postgres_tools.read_major(postgres_tools.find_program("pg_dump", 16)) == 16
    assert postgres_tools.read_major(postgres_tools.find_program("pg_dump", 17)) == 18
    with pytest.raises(BackupError, match="Install the client programs of PostgreSQL 99"):
        postgres_tools.find_program("pg_dump", 99)


def test_each_server_gets_the_nearest_program_of_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first was seen, and a dump of 18 has settings that a server of 15 refuses."""
    folders = [PROGRAMS.parents[1] / "pginstall18" / "bin", PROGRAMS]
    monkeypatch.setattr(postgres_tools, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, folders)))
    for server, program in ((15, 16), (16, 16), (17, 18), (18, 18)):
        found = postgres_tools.find_program("pg_dump", server)
        assert postgres_tools.read_major(found) == program


def test_a_database_of_nobody_is_named(database: str, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="no job API has used it"):
        back_up(database, tmp_path, tmp_path / "b.tar", with_files=False)
    with pytest.raises(BackupError, match="does not answer"):
        back_up("postgresql://127.0.0.1:9/x", tmp_path, tmp_path / "b.tar", with_files=False)


def test_a_password_is_no_argument(
    filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[list[str], dict[str, str]]] = []
    real = subprocess.run

    def watch(command: Any, **options: Any) -> Any:
        asked.append(([str(part) for part in command], dict(options.get("env") or {})))
        return real(command, **options)

    monkeypatch.setattr(subprocess, "run", watch)
    address = filled.replace("postgres:@", "postgres:s3cret-word@")
    back_up(address, tmp_path, tmp_path / "b.tar", with_files=False)
    dumps = [(c, env) for c, env in asked if c[0].endswith("pg_dump") and len(c) > 2]
    assert dumps and all("s3cret-word" not in " ".join(c) for c, _ in dumps)
    assert dumps[0][1]["PGPASSWORD"] == "s3cret-word"
