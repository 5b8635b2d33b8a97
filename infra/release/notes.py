"""`python -m infra.release.notes vX.Y.Z`: Print the changelog of one release."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parents[2] / "CHANGELOG.md"
_TAG = re.compile(r"v\d+\.\d+\.\d+")


def notes(changelog: str, tag: str) -> str:
    """Return the changelog's text below the heading of `tag`.

    Raises: ValueError for an invalid tag, a missing heading or an empty text.
    """
    if not _TAG.fullmatch(tag):
        raise ValueError(f"{tag!r} is not a valid tag. A tag has the form v1.2.3.")
    version = re.escape(tag.removeprefix("v"))
    heading = rf"^## \[?{version}\]?(?: - \d{{4}}-\d{{2}}-\d{{2}})?[ \t]*\n"
    match = re.search(rf"{heading}(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if match is None:
        raise ValueError(
            f"CHANGELOG.md has no heading for {tag}. Move the unreleased changes below one."
        )
    text = match[1].strip()
    if not text:
        raise ValueError(f"CHANGELOG.md has no text below the heading for {tag}.")
    return text + "\n"


def main() -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.release.notes",
        description=(__doc__ or "").splitlines()[0].partition(": ")[2],
    )
    parser.add_argument("tag", help="version tag, such as v1.2.3")
    try:
        sys.stdout.write(notes(CHANGELOG.read_text(encoding="utf-8"), parser.parse_args().tag))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
