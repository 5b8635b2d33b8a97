"""`musicgen backup` and `musicgen restore`: jobs, keys, clips and uploads of the job API."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from handlers.cli.options import Commands
from handlers.cli.paths import check_input_file
from handlers.job_api.packages import require_database_packages
from musicgen.errors import BackupError
from musicgen.errors.counts import format_count
from musicgen.settings import Settings
from musicgen.settings.job_api import ApiSettings

if TYPE_CHECKING:
    from handlers.job_api.store.backup import BackupManifest


def add(commands: Commands) -> None:
    """Add the commands `backup` and `restore`."""
    backup = commands.add_parser(
        "backup",
        help="write the job API's database, clips and uploads to one file",
        description="Servers may run meanwhile. What lies in a bucket is not copied. The file "
        "holds secrets: only its owner can read it.",
    )
    backup.add_argument(
        "target",
        metavar="FILE",
        help="a new file, or a folder (FOLDER/ for a new one) for a file named by time",
    )
    backup.add_argument(
        "--without-files", action="store_true", help="the database only, no clips and uploads"
    )
    backup.set_defaults(run=_back_up)
    restore = commands.add_parser(
        "restore",
        help="restore a file of `musicgen backup`; stop the servers first",
        description="The next start of a server migrates an older backup.",
    )
    restore.add_argument("source", type=Path, metavar="FILE", help="a file of `musicgen backup`")
    restore.add_argument(
        "--force", action="store_true", help="replace the jobs, keys and files that are there"
    )
    restore.set_defaults(run=_restore)


def _back_up(options: argparse.Namespace, settings: Settings) -> int:
    api = ApiSettings.from_env()
    require_database_packages("a backup", api.database_url)
    from handlers.job_api.store.backup import back_up
    from handlers.job_api.store.database import database_url
    from handlers.job_api.store.postgres_folder import PostgresFolder

    if api.database_url is None and not PostgresFolder(api.data_dir).data.is_dir():
        raise BackupError(
            f"{api.data_dir} holds no database. Set MUSICGEN_DATA_DIR to the server's folder."
        )
    url = database_url(api.database_url, api.data_dir)
    target = Path(options.target)
    if options.target.endswith("/"):
        _make_folder(target)
    if target.is_dir():
        target /= f"musicgen-{datetime.now(UTC):%Y%m%d-%H%M%S}.tar"
    with_files = settings.bucket.name is None and not options.without_files
    manifest = back_up(url, api.data_dir, target, with_files=with_files)
    size = target.stat().st_size / 1e6
    sys.stdout.write(f"{target}: {_describe(manifest)}, {size:.1f} MB\n")
    return 0


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BackupError(f"{folder} cannot be made: {error.strerror}.") from error


def _restore(options: argparse.Namespace, _: Settings) -> int:
    check_input_file("FILE", options.source)
    api = ApiSettings.from_env()
    require_database_packages("a backup", api.database_url)
    from handlers.job_api.store.restore import open_target, restore

    with open_target(api.database_url, api.data_dir) as url:
        manifest = restore(url, api.data_dir, options.source, force=options.force)
    sys.stdout.write(f"Restored {_describe(manifest)} of {manifest.created_at}\n")
    return 0


def _describe(manifest: BackupManifest) -> str:
    files = "with clips and uploads" if manifest.has_files else "without clips and uploads"
    jobs, keys = format_count(manifest.jobs, "job"), format_count(manifest.keys, "key")
    return f"{jobs}, {keys}, {files}"
