"""Start of the command `musicgen`, before the import of anything but the standard library."""

from __future__ import annotations

import sys

from handlers.cli.statuses import EXIT_FAILED, EXIT_MISCONFIGURED
from handlers.cli.streams import (
    OutputLost,
    exit_at_interrupt,
    guard_streams,
    raise_at_interrupt,
)


def main() -> int:
    """Run the command line, unless the imported `musicgen` is another project's.

    A reader that closes the output early, such as head, has enough: the status stays 0.
    """
    guard_streams()
    exit_at_interrupt()
    try:
        try:
            return _run()
        finally:
            exit_at_interrupt()
            sys.stdout.flush()
    except OutputLost as lost:
        if lost.is_reader_gone:
            return 0
        sys.stderr.write(f"musicgen: cannot write to standard output: {lost.reason}\n")
        return EXIT_FAILED


def _run() -> int:
    from handlers.identity import find_foreign_import

    problem = find_foreign_import()
    if problem is not None:
        sys.stderr.write(f"musicgen: {problem}\n")
        return EXIT_MISCONFIGURED
    # Imported late: it imports the package that was in question.
    from handlers.cli.main import main as run

    raise_at_interrupt()
    return run()
