"""`musicgen keys create|list|revoke|delete-data`: API keys of the job API."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from handlers.cli.options import Commands, build_number
from handlers.cli.statuses import EXIT_FAILED
from handlers.job_api.packages import require_database_packages
from musicgen.errors.counts import format_count
from musicgen.settings import Settings
from musicgen.settings.job_api import ApiSettings

if TYPE_CHECKING:
    from handlers.job_api.store.database import Pool

SCOPES = ("generate", "models", "priority")
DAYS_MAX = 36_500


def add(commands: Commands) -> None:
    """Add the command `keys`."""
    parser = commands.add_parser(
        "keys", help="create, list and revoke API keys, and delete their jobs"
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    create = actions.add_parser("create", help="create a key, shown only once")
    create.add_argument(
        "name", type=_parse_text, metavar="NAME", help="name of the owner, for `musicgen keys list`"
    )
    create.add_argument(
        "--scope",
        action="append",
        choices=SCOPES,
        help="a permission of the key; may be repeated (default: generate)",
    )
    create.add_argument(
        "--days",
        type=build_number(float, 0, DAYS_MAX, above=True),
        metavar="N",
        help="days of validity (default: until revoked)",
    )
    create.set_defaults(act=_create)
    actions.add_parser("list", help="list the keys").set_defaults(act=_list)
    revoke = actions.add_parser("revoke", help="revoke a key immediately")
    revoke.add_argument(
        "prefix",
        type=_parse_prefix,
        metavar="PREFIX",
        help="prefix of the key, from `musicgen keys list`",
    )
    revoke.set_defaults(act=_revoke)
    delete = actions.add_parser("delete-data", help="delete all jobs and uploads of a key")
    delete.add_argument(
        "prefix",
        type=_parse_prefix,
        metavar="PREFIX",
        help="prefix of the key, from `musicgen keys list`; `anonymous` for a server without keys",
    )
    delete.add_argument("--yes", action="store_true", help="delete; without it only count")
    delete.set_defaults(act=_delete_data)
    parser.set_defaults(run=_keys)


def _keys(options: argparse.Namespace, settings: Settings) -> int:
    require_database_packages("`musicgen keys`", ApiSettings.from_env().database_url)
    status: int = options.act(options, settings)
    return status


def _parse_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"must be UTF-8 (was {text!r})") from None
    return text


def _parse_prefix(text: str) -> str:
    """Return the prefix, also from mg_PREFIX, as keys begin."""
    return _parse_text(text).removeprefix("mg_")


def _create(options: argparse.Namespace, _: Settings) -> int:
    from handlers.job_api.store import api_keys as keys

    until = options.days and datetime.now(UTC) + timedelta(days=options.days)
    scopes = frozenset(options.scope or SCOPES[:1])
    created = _with_database(lambda pool: keys.create(pool, options.name, scopes, until or None))
    sys.stdout.write(
        f"key: {created.key}\nwebhook secret: {created.webhook_secret}\n"
        "Neither is shown again. Send the key as `Authorization: Bearer KEY`.\n"
    )
    return 0


def _list(_options: argparse.Namespace, _: Settings) -> int:
    from handlers.job_api.store import api_keys as keys

    rows = _with_database(keys.list_keys)
    if not rows:
        sys.stderr.write("There are no keys. `musicgen keys create NAME` makes one.\n")
    for row in rows:
        end = "revoked" if row["revoked_at"] else f"until {row['expires_at'] or 'revoked'}"
        scopes = ",".join(row["scopes"])
        sys.stdout.write(f"{row['prefix']}  {row['created_at']:%Y-%m-%d}  {scopes}  {end}  ")
        sys.stdout.write(f"{row['name']}\n")
    return 0


def _revoke(options: argparse.Namespace, _: Settings) -> int:
    from handlers.job_api.store import api_keys as keys

    if _with_database(lambda pool: keys.revoke(pool, options.prefix)):
        sys.stdout.write(f"{options.prefix} is revoked\n")
        return 0
    sys.stderr.write(
        f"musicgen: no valid key begins with {options.prefix}. `musicgen keys list` shows the "
        "prefixes, in front of the names.\n"
    )
    return EXIT_FAILED


def _delete_data(options: argparse.Namespace, _: Settings) -> int:
    from handlers.job_api.store import deletions

    work = deletions.delete_all if options.yes else deletions.count_all
    counts = _with_database(lambda pool: work(pool, options.prefix))
    jobs, uploads = format_count(counts.jobs, "job"), format_count(counts.uploads, "upload")
    found = f"{jobs} and {uploads} of {options.prefix}"
    if options.yes:
        sys.stdout.write(f"Deleted {found}. The servers delete the files within seconds.\n")
    else:
        sys.stdout.write(f"{found} would be deleted. Repeat the command with --yes.\n")
    return 0


def _with_database(work: Callable[[Pool], Awaitable[Any]]) -> Any:
    from handlers.job_api.store.database import database_url, log_place, open_pool
    from handlers.job_api.store.reachability import check_database
    from handlers.job_api.store.schema import migrate

    settings = ApiSettings.from_env()
    if settings.database_url is not None:
        check_database(settings.database_url)
    log_place(settings.database_url, settings.data_dir)
    url = database_url(settings.database_url, settings.data_dir)

    async def run() -> Any:
        async with open_pool(url, largest=1) as pool:
            await migrate(pool)
            return await work(pool)

    return asyncio.run(run())
