"""`musicgen uploads`: clips that were made and that their bucket has not taken yet."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handlers.cli.options import EXIT_FAILED, Commands
from musicgen.settings import BucketSettings, Settings

if TYPE_CHECKING:
    from musicgen.storage.spool import Spool, SpoolEntry


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "uploads", help="list or send clips that a bucket has not taken yet"
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    for name, text, run in (
        ("list", "what waits in $MUSICGEN_SPOOL_DIR, and for which bucket", _list),
        ("retry", "send it now, with the credentials of the environment", _retry),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("--json", action="store_true", help="print JSON")
        action.add_argument(
            "--older-than", type=float, default=0.0, metavar="S", help="only clips of this age"
        )
        action.set_defaults(run=run)


def _list(options: argparse.Namespace, settings: Settings) -> int:
    spool = _spool(settings)
    entries = list(_each(spool, options.older_than, _described))
    _show(options, entries + [_unfinished(path) for path in spool.unfinished()], settings)
    return 0


def _retry(options: argparse.Namespace, settings: Settings) -> int:
    spool = _spool(settings)
    outcomes = list(_each(spool, options.older_than, lambda entry: _sent(spool, entry, settings)))
    _show(options, outcomes, settings)
    return EXIT_FAILED if any(outcome["error"] for outcome in outcomes) else 0


def _spool(settings: Settings) -> Spool:
    from musicgen.storage.spool import Spool

    return Spool(settings.spool_dir)


def _each(
    spool: Spool, older_than: float, act: Callable[[SpoolEntry], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """What `act` makes of those that no other process is sending, each locked meanwhile."""
    from musicgen.errors import StorageError

    for path in spool.waiting():
        try:
            with spool.taken(path) as entry:
                if entry is not None and entry.age >= older_than:
                    yield act(entry)
        except StorageError as error:
            yield _nameless(path, str(error))


def _unfinished(path: Path) -> dict[str, Any]:
    return _nameless(path, "not finished: it is being written, or its process was killed")


def _nameless(path: Path, error: str) -> dict[str, Any]:
    """A file in the spool of which nobody knows where it was to go."""
    nowhere = {"bytes": None, "bucket": None, "endpoint_url": None, "key": None}
    return {"file": str(path)} | nowhere | {"error": error}


def _sent(spool: Spool, entry: SpoolEntry, settings: Settings) -> dict[str, Any]:
    from musicgen.errors import StorageError
    from musicgen.storage.s3_client import open_client, send

    bucket = _destination(entry, settings.bucket)
    outcome = _described(entry) | {"error": None}
    try:
        deadline = time.monotonic() + bucket.deadline
        send(open_client(bucket), entry.upload, lambda: entry.path.open("rb"), deadline)
    except StorageError as error:
        return outcome | {"error": str(error)}
    spool.done(entry)
    return outcome


def _destination(entry: SpoolEntry, configured: BucketSettings) -> BucketSettings:
    """The entry's own bucket, with the credentials that this process has been given."""
    upload = entry.upload
    return BucketSettings(
        name=upload.bucket,
        endpoint_url=upload.endpoint_url,
        region=upload.region,
        addressing=upload.addressing,
        deadline=configured.deadline,
        access_key_id=configured.access_key_id,
        secret_access_key=configured.secret_access_key,
    )


def _described(entry: SpoolEntry) -> dict[str, Any]:
    upload = asdict(entry.upload)
    named = {name: upload[name] for name in ("bucket", "endpoint_url", "key")}
    return {"file": str(entry.path), "bytes": entry.size} | named


def _show(options: argparse.Namespace, entries: list[dict[str, Any]], settings: Settings) -> None:
    if options.json:
        sys.stdout.write(json.dumps(entries, indent=2) + "\n")
        return
    if not entries:
        sys.stdout.write(f"nothing waits in {settings.spool_dir}\n")
    for entry in entries:
        if entry["bucket"] is None:
            sys.stdout.write(f"{entry['file']}: {entry['error']}\n")
            continue
        where = f"{entry['endpoint_url'] or 'AWS'} {entry['bucket']}/{entry['key']}"
        end = "" if "error" not in entry else f": {entry['error'] or 'sent'}"
        sys.stdout.write(f"{entry['file']} ({entry['bytes']} bytes) to {where}{end}\n")
