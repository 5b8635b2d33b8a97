"""`musicgen uploads`: finished clips waiting for their bucket."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handlers.cli.options import Commands, build_number
from handlers.cli.statuses import EXIT_FAILED
from musicgen.errors.counts import format_count
from musicgen.settings import Settings

if TYPE_CHECKING:
    from musicgen.storage.spool import Spool, SpoolEntry

AGE_MAX = 10**9
"""Seconds; some thirty years."""
OTHER_BUCKET = (
    "not sent: it belongs to another bucket than the configured one. Set MUSICGEN_BUCKET and "
    "MUSICGEN_BUCKET_ENDPOINT_URL to its bucket if it is yours; it is deleted at a start of the "
    "server after 7 days."
)


def add(commands: Commands) -> None:
    """Add the command `uploads`."""
    parser = commands.add_parser("uploads", help="list or send clips waiting for their bucket")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    for name, text, run in (
        ("list", "list the clips in $MUSICGEN_SPOOL_DIR and their buckets", _list),
        ("retry", "send those of the configured bucket to it now", _retry),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("--json", action="store_true", help="print JSON")
        action.add_argument(
            "--older-than",
            type=build_number(float, 0, AGE_MAX),
            default=0.0,
            metavar="S",
            help="only clips of at least this age in seconds (default: %(default)g)",
        )
        action.set_defaults(run=run)


def _list(options: argparse.Namespace, settings: Settings) -> int:
    spool = _spool(settings)
    entries = list(
        _apply_to_entries(spool, options.older_than, lambda entry: _list_entry(entry, settings))
    )
    unfinished = [_describe_unfinished(path) for path in spool.list_unfinished()]
    _show(options, entries + unfinished, settings)
    return 0


def _retry(options: argparse.Namespace, settings: Settings) -> int:
    spool = _spool(settings)
    outcomes = list(
        _apply_to_entries(
            spool, options.older_than, lambda entry: _send_entry(spool, entry, settings)
        )
    )
    _show(options, outcomes, settings)
    return EXIT_FAILED if any(outcome["error"] for outcome in outcomes) else 0


def _spool(settings: Settings) -> Spool:
    from musicgen.storage.spool import Spool

    return Spool(settings.spool_dir)


def _apply_to_entries(
    spool: Spool, older_than: float, act: Callable[[SpoolEntry], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Lock each waiting entry, unless another process is sending it, and yield `act(entry)`."""
    from musicgen.errors import StorageError

    for path in spool.list_waiting():
        try:
            with spool.lock(path) as entry:
                if entry is not None and entry.age >= older_than:
                    yield act(entry)
        except StorageError as error:
            yield _describe_unknown(path, str(error))


def _describe_unfinished(path: Path) -> dict[str, Any]:
    return _describe_unknown(path, "not finished: it is being written, or its process was killed")


def _describe_unknown(path: Path, error: str) -> dict[str, Any]:
    """Describe a file in the spool with an unknown destination."""
    unknown = {"bytes": None, "bucket": None, "endpoint_url": None, "key": None}
    return {"file": str(path)} | unknown | {"error": error}


def _list_entry(entry: SpoolEntry, settings: Settings) -> dict[str, Any]:
    from musicgen.storage.s3_client import is_addressed_to

    is_own = is_addressed_to(entry.target, settings.bucket)
    return _describe(entry) | ({} if is_own else {"error": OTHER_BUCKET})


def _send_entry(spool: Spool, entry: SpoolEntry, settings: Settings) -> dict[str, Any]:
    """Send a clip to the configured bucket, and to no other: its description names no key.

    A description can name any server, so the operator's key must not follow it.
    """
    from musicgen.errors import StorageError
    from musicgen.storage.s3_client import is_addressed_to, open_client, send

    bucket = settings.bucket
    outcome = _describe(entry) | {"error": None}
    if not is_addressed_to(entry.target, bucket):
        return outcome | {"error": OTHER_BUCKET}
    try:
        deadline = time.monotonic() + bucket.deadline
        send(open_client(bucket), entry.target, lambda: entry.path.open("rb"), deadline)
    except StorageError as error:
        return outcome | {"error": str(error)}
    spool.remove(entry)
    return outcome


def _describe(entry: SpoolEntry) -> dict[str, Any]:
    target = asdict(entry.target)
    named = {name: target[name] for name in ("bucket", "endpoint_url", "key")}
    return {"file": str(entry.path), "bytes": entry.size} | named


def _show(options: argparse.Namespace, entries: list[dict[str, Any]], settings: Settings) -> None:
    if options.json:
        sys.stdout.write(json.dumps(entries, indent=2) + "\n")
        return
    if not entries:
        sys.stdout.write(f"no clips are waiting in {settings.spool_dir}\n")
    for entry in entries:
        if entry["bucket"] is None:
            sys.stdout.write(f"{entry['file']}: {entry['error']}\n")
            continue
        where = f"{entry['endpoint_url'] or 'AWS'} {entry['bucket']}/{entry['key']}"
        size = format_count(entry["bytes"], "byte")
        end = "" if "error" not in entry else f": {entry['error'] or 'sent'}"
        sys.stdout.write(f"{entry['file']} ({size}) to {where}{end}\n")
