"""A server that cannot work ends with one line and a documented status, before it loads anything.

`docs/runbook.md` lists the statuses: 2 for wrong options, 75 for a service that may come back, 78
for faults to be corrected first.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.commands import Ended, run_command
from tests.support.disks import small_disk
from tests.support.job_server import environment, free_port, job_server
from tests.support.packs import pack_folder
from tests.support.s3_server import Bucket, s3_server
from tests.support.tcp_postgres import TcpPostgres, tcp_postgres

WRONG, AWAY, MISCONFIGURED = 2, 75, 78
MOST_SECONDS = 5.0
KEYS = {"MUSICGEN_BUCKET_ACCESS_KEY_ID": "id", "MUSICGEN_BUCKET_SECRET_ACCESS_KEY": "secret"}
RELAY = {
    "MUSICGEN_POLICY": "remote",
    "MUSICGEN_REMOTE_TARGET": "replicate",
    "MUSICGEN_REMOTE_NAME": "owner/model",
    "MUSICGEN_REMOTE_PRICE": "0.001",
}
SETTINGS = {
    "unknown name": ("api", {"MUSICGEN_SLOTZ": "2"}, "Did you mean MUSICGEN_SLOTS?"),
    "a secret under an unknown name": (
        "api",
        {"MUSICGEN_BUCKET_SECRET_KEY": "hush"},
        "Did you mean MUSICGEN_BUCKET_SECRET_ACCESS_KEY?",
    ),
    "no number": ("api", {"MUSICGEN_THREADS": "two"}, "MUSICGEN_THREADS must be a whole"),
    "a number too small": ("worker", {"MUSICGEN_SLOTS": "0"}, "MUSICGEN_SLOTS must be a whole"),
    "a port too large": ("worker", {"MUSICGEN_METRICS_PORT": "70000"}, "MUSICGEN_METRICS_PORT"),
    "no such choice": ("api", {"MUSICGEN_LOG_FORMAT": "xml"}, "must be text or json"),
    "half a pair of keys": (
        "api",
        {"MUSICGEN_BUCKET": "music", "MUSICGEN_BUCKET_ACCESS_KEY_ID": "id"},
        "must be set together",
    ),
    "a price without a cap": ("relay", RELAY, "MUSICGEN_REMOTE_MONTHLY_CAP must be set"),
    "a policy without a target": ("api", {"MUSICGEN_POLICY": "remote"}, "MUSICGEN_REMOTE_TARGET"),
    "a platform without its token": (
        "relay",
        {**RELAY, "MUSICGEN_REMOTE_MONTHLY_CAP": "5"},
        "REPLICATE_API_TOKEN must be set",
    ),
    "a URL of another database": (
        "api",
        {"DATABASE_URL": "mysql://me:hush@127.0.0.1/music"},
        "DATABASE_URL begins with mysql://",
    ),
    "a password with @ and /": (
        "api",
        {"DATABASE_URL": "postgresql://me:hu@sh/hush@127.0.0.1/music"},
        "percent-encode",
    ),
    "an endpoint without a scheme": (
        "worker",
        {"MUSICGEN_BUCKET": "music", "MUSICGEN_BUCKET_ENDPOINT_URL": "bucket:9000", **KEYS},
        "is not a URL",
    ),
    "a bucket without keys": (
        "worker",
        {"MUSICGEN_BUCKET": "music", "MUSICGEN_BUCKET_ENDPOINT_URL": "http://127.0.0.1:1"},
        "no credentials for bucket 'music'",
    ),
    "no such model folder": (
        "worker",
        {"MUSICGEN_MODEL": "/no/such/folder"},
        "MUSICGEN_MODEL is not an existing folder or file",
    ),
    "a hub name without a hub": (
        "worker",
        {"MUSICGEN_MODEL": "owner/music"},
        "HF_HUB_OFFLINE forbids a download",
    ),
    "a GPU that is not there": (
        "worker",
        {"MUSICGEN_DEVICE": "cuda:31"},
        "MUSICGEN_DEVICE must be a GPU of this machine",
    ),
}


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., Ended]:
    """`serve(part, *options, **settings)` runs the command until it ends."""

    def run(part: str, *options: str, bound: bool = False, **settings: object) -> Ended:
        env = environment(tmp_path / "data", MUSICGEN_START_SECONDS=1, HOME=tmp_path, **settings)
        env["AWS_EC2_METADATA_DISABLED"] = "true"
        if not any(option == "--port" for option in options):
            options = (*options, "--port", str(free_port()))
        return run_command(["serve", part, *options], env, bound=bound)

    return run


@pytest.fixture(scope="module")
def postgres() -> Iterator[TcpPostgres]:
    with tcp_postgres() as server:
        server.execute(
            "CREATE DATABASE latin OWNER musicgen ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0",
            "CREATE ROLE guest LOGIN PASSWORD 'guest'",
            "CREATE DATABASE newer OWNER musicgen",
        )
        server.execute(
            "CREATE TABLE musicgen_schema (part text, version bigint, name text, "
            "contracts boolean, package_version text, applied_at timestamptz DEFAULT now())",
            "INSERT INTO musicgen_schema VALUES ('musicgen', 9999, '9999_future', true, '9.9')",
            "GRANT SELECT ON musicgen_schema TO musicgen",
            "ALTER SCHEMA public OWNER TO musicgen",
            database="newer",
        )
        yield server


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with s3_server() as running:
        yield running


def check_end(ended: Ended, status: int, *, says: str, lines: int = 1) -> None:
    """`lines`: one more where the server has waited."""
    assert ended.status == status, ended
    assert len(ended.lines) == lines and says in ended.lines[-1], ended
    assert ended.lines[-1].startswith("musicgen: ") and "hush" not in ended.text
    assert ended.seconds < MOST_SECONDS


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_wrong_setting_ends_the_start(serve: Callable[..., Ended], kind: str) -> None:
    part, settings, says = SETTINGS[kind]
    check_end(serve(part, **settings), MISCONFIGURED, says=says)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"password": "hush"}, "refuses the user or the password"),
        ({"user": "nobody"}, "refuses the user or the password"),
        ({"database": "none"}, "has no such database"),
        ({"database": "latin"}, "a database in LATIN1"),
        ({"user": "guest", "password": "guest"}, "may create no tables"),
        ({"database": "newer"}, "newer than musicgen"),
        (
            {"database": "newer", "user": "guest", "password": "guest"},
            "its user may not read the tables",
        ),
    ],
)
def test_a_database_that_refuses_us_ends_the_start(
    serve: Callable[..., Ended], postgres: TcpPostgres, change: dict[str, str], says: str
) -> None:
    check_end(serve("api", DATABASE_URL=postgres.url(**change)), MISCONFIGURED, says=says)


def test_an_encrypted_connection_that_the_server_lacks_ends_the_start(
    serve: Callable[..., Ended], postgres: TcpPostgres
) -> None:
    url = f"{postgres.url()}?sslmode=require"
    check_end(serve("worker", DATABASE_URL=url), MISCONFIGURED, says="encrypted connection fails")


@pytest.mark.parametrize(
    ("part", "host", "says"),
    [
        ("api", "no-such-host.invalid", "unknown host name"),
        ("worker", "127.0.0.1:1", "Connection refused"),
        ("all", "127.0.0.1:1", "Connection refused"),
    ],
)
def test_a_database_away_is_waited_for(
    serve: Callable[..., Ended], part: str, host: str, says: str
) -> None:
    """It gave a minute of retries and then a traceback."""
    ended = serve(part, DATABASE_URL=f"postgresql://me:hush@{host}/music")
    check_end(ended, AWAY, says=says, lines=2)
    assert "Waiting for up to 1 s." in ended.lines[0]


@pytest.mark.parametrize("part", ["api", "worker", "all"])
def test_a_data_folder_that_is_a_file_ends_the_start(
    serve: Callable[..., Ended], tmp_path: Path, part: str
) -> None:
    (tmp_path / "data").write_text("")
    check_end(serve(part), MISCONFIGURED, says="MUSICGEN_DATA_DIR: cannot write to")


def test_a_read_only_data_folder_ends_the_start(
    serve: Callable[..., Ended], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir(mode=0o555)
    check_end(serve("all", bound=True), MISCONFIGURED, says="Permission denied")


def test_a_disk_without_room_ends_the_start(serve: Callable[..., Ended], tmp_path: Path) -> None:
    with small_disk(tmp_path / "data", megabytes=2):
        check_end(serve("worker"), MISCONFIGURED, says="Free some space or choose another folder")


@pytest.mark.slow
def test_an_api_starts_on_a_full_disk(tmp_path: Path, postgres: TcpPostgres) -> None:
    """Its retention makes the room again, and callers can fetch their clips."""
    folder = tmp_path / "data"
    with (
        small_disk(folder, megabytes=2),
        job_server(folder, "api", DATABASE_URL=postgres.url()) as server,
    ):
        assert server.http.get("/readyz").status_code == 200
    assert "MUSICGEN_DATA_DIR: " in folder.with_name("data.log").read_text()


@pytest.mark.parametrize("part", ["api", "all"])
def test_a_port_in_use_ends_the_start(serve: Callable[..., Ended], part: str) -> None:
    """`all` restarted its API for ever."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = serve(part, "--port", port)
        check_end(ended, MISCONFIGURED, says=f"--port must be a free port of 127.0.0.1 (was {port}")
        ended = serve("worker", MUSICGEN_METRICS_PORT=port)
        check_end(ended, MISCONFIGURED, says="MUSICGEN_METRICS_PORT must be a free port")


def test_an_address_of_another_machine_ends_the_start(serve: Callable[..., Ended]) -> None:
    ended = serve("api", "--host", "203.0.113.9")
    check_end(ended, MISCONFIGURED, says="no address of this machine")


def test_keys_off_for_everybody_ends_the_start(serve: Callable[..., Ended]) -> None:
    ended = serve("all", "--host", "0.0.0.0", MUSICGEN_API_AUTH="off")
    check_end(ended, MISCONFIGURED, says="MUSICGEN_API_AUTH cannot be off on 0.0.0.0")


def test_a_port_that_is_none_is_a_wrong_option(serve: Callable[..., Ended]) -> None:
    assert serve("api", "--port", "70000").status == WRONG


def test_a_bucket_that_is_not_there_ends_the_start(
    serve: Callable[..., Ended], bucket: Bucket
) -> None:
    settings = {**bucket.env, "MUSICGEN_BUCKET": "other"}
    for part in ("api", "worker"):
        check_end(serve(part, **settings), MISCONFIGURED, says="the bucket does not exist")


def test_a_worker_waits_for_its_bucket(serve: Callable[..., Ended]) -> None:
    settings = {"MUSICGEN_BUCKET": "music", **KEYS}
    ended = serve("worker", MUSICGEN_BUCKET_ENDPOINT_URL="http://127.0.0.1:1", **settings)
    check_end(ended, AWAY, says="could not be reached")


def test_a_packed_file_that_cannot_run_ends_the_start(
    serve: Callable[..., Ended], tmp_path: Path, checkpoints: Callable[[str], Path]
) -> None:
    """Another form, damage, a right that is missing: each ended after torch was imported."""
    packed = tmp_path / "m.packed"
    pack_folder(checkpoints("musicgen-small"), "plain-bfloat16", packed)
    ended = serve("worker", MUSICGEN_MODEL=packed, MUSICGEN_PRECISION="float32")
    check_end(ended, MISCONFIGURED, says="is packed as plain-bfloat16, unsuitable for cpu")
    ended = serve("worker", MUSICGEN_MODEL=packed, MUSICGEN_ENGINE="transformers")
    check_end(ended, MISCONFIGURED, says="MUSICGEN_ENGINE must be musicgen for a packed file")
    packed.chmod(0)
    ended = serve("worker", MUSICGEN_MODEL=packed, bound=True)
    check_end(ended, MISCONFIGURED, says="cannot be read: Permission denied")
    packed.chmod(0o644)
    os.truncate(packed, packed.stat().st_size - 1)
    check_end(serve("all", MUSICGEN_MODEL=packed), MISCONFIGURED, says="bytes instead of")
    packed.write_bytes(b"\0" * 100)
    check_end(serve("worker", MUSICGEN_MODEL=packed), MISCONFIGURED, says="is not a packed file")


@pytest.mark.slow
def test_a_fault_found_by_a_worker_ends_all_parts(
    serve: Callable[..., Ended], tmp_path: Path, checkpoints: Callable[[str], Path]
) -> None:
    """Damage of the weights shows when they are read: the worker was restarted for ever."""
    packed = tmp_path / "m.packed"
    pack_folder(checkpoints("musicgen-small"), "plain-float32", packed)
    with packed.open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        file.write(b"damage")
    ended = serve("all", MUSICGEN_MODEL=packed)
    assert ended.status == MISCONFIGURED and "is damaged between bytes" in ended.text, ended
    assert "restarting" not in ended.text


def test_a_folder_without_weights_ends_the_start(
    serve: Callable[..., Ended], tmp_path: Path, checkpoints: Callable[[str], Path]
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    ended = serve("worker", MUSICGEN_MODEL=folder)
    check_end(ended, MISCONFIGURED, says="config.json")
    (folder / "config.json").write_bytes(
        (checkpoints("musicgen-small") / "config.json").read_bytes()
    )
    check_end(serve("worker", MUSICGEN_MODEL=folder), MISCONFIGURED, says="has no weights")


def test_a_model_closed_to_the_process_ends_the_start(
    serve: Callable[..., Ended], tmp_path: Path
) -> None:
    """`Path.exists` raises where a folder above may not be searched."""
    folder = tmp_path / "closed"
    (folder / "model").mkdir(parents=True)
    (folder / "model/config.json").write_text("{}")
    (folder / "model/config.json").chmod(0)
    ended = serve("worker", bound=True, MUSICGEN_MODEL=folder / "model")
    check_end(ended, MISCONFIGURED, says="cannot be read")
    folder.chmod(0)
    try:
        ended = serve("worker", bound=True, MUSICGEN_MODEL=folder / "model")
        check_end(ended, MISCONFIGURED, says="MUSICGEN_MODEL cannot be read")
        ended = serve("worker", bound=True, MUSICGEN_DATA_DIR=folder / "data")
        check_end(ended, MISCONFIGURED, says="MUSICGEN_DATA_DIR: cannot write to")
    finally:
        folder.chmod(0o755)


def test_a_path_too_long_ends_the_start(serve: Callable[..., Ended]) -> None:
    ended = serve("worker", MUSICGEN_MODEL="x" * 5000)
    check_end(ended, MISCONFIGURED, says="MUSICGEN_MODEL cannot be read")
    ended = serve("worker", MUSICGEN_DATA_DIR="x" * 5000)
    check_end(ended, MISCONFIGURED, says="MUSICGEN_DATA_DIR")
