"""Start of the command `musicgen`, before the import of anything but the standard library."""

from __future__ import annotations

import sys

from handlers.identity import find_foreign_import

EXIT_MISCONFIGURED = 78


def main() -> int:
    """Run the command line, unless the imported `musicgen` is another project's."""
    problem = find_foreign_import()
    if problem is not None:
        sys.stderr.write(f"musicgen: {problem}\n")
        return EXIT_MISCONFIGURED
    # Imported late: it imports the package that was in question.
    from handlers.cli.main import main as run

    return run()
