"""`musicgen credentials`: a key and certificates for trials of content credentials."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from handlers.cli.options import Commands, build_number
from handlers.cli.paths import check_folder
from musicgen.settings import Settings
from musicgen.settings.credentials import CERTIFICATE_FILE, KEY_FILE

DAYS, DAYS_MAX = 90, 3650


def add(commands: Commands) -> None:
    """Add the command `credentials`."""
    parser = commands.add_parser(
        "credentials",
        help="make a key and certificates for trials of content credentials",
        description="Content credentials (C2PA) in clips, see docs/credentials.md.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    new = actions.add_parser(
        "new",
        help="write a key with certificates that nobody trusts",
        description="Writes a signing key, its certificates and their root to a folder. They are "
        "for trials only: nobody trusts them. A certificate for publishing comes from an "
        "authority on the C2PA trust list.",
    )
    new.add_argument("folder", type=Path, metavar="FOLDER", help="no file there is overwritten")
    new.add_argument(
        "--days",
        type=build_number(int, 1, DAYS_MAX),
        default=DAYS,
        metavar="N",
        help=f"validity, 1 to {DAYS_MAX} (default: %(default)s)",
    )
    new.set_defaults(run=_create)


def _create(options: argparse.Namespace, settings: Settings) -> int:
    from musicgen.credentials.library import require_library

    require_library()
    check_folder("FOLDER", options.folder)
    from musicgen.credentials.certificates import create_trial_chain

    key, chain, root = create_trial_chain(options.folder, days=options.days)
    sys.stdout.write(
        "For trials only: nobody trusts this certificate.\n\n"
        f"export {KEY_FILE}={key.resolve()}\n"
        f"export {CERTIFICATE_FILE}={chain.resolve()}\n\n"
        f"Verify a clip: musicgen inspect FILE --trust {root.resolve()}\n"
    )
    return 0
