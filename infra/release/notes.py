"""A release's notes: `python -m infra.release.notes vX.Y.Z` prints its part of the changelog."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parents[2] / "CHANGELOG.md"
_TAG = re.compile(r"v\d+\.\d+\.\d+")


def notes(changelog: str, tag: str) -> str:
    """The text under the heading of `tag`, without the heading.

    Raises: ValueError for a tag that is none, a version without a heading, one with nothing in it.
    """
    if not _TAG.fullmatch(tag):
        raise ValueError(f"{tag!r} is not a tag such as v1.2.3")
    version = re.escape(tag.removeprefix("v"))
    heading = rf"^## \[?{version}\]?(?: - \d{{4}}-\d{{2}}-\d{{2}})?[ \t]*\n"
    found = re.search(rf"{heading}(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"CHANGELOG.md has no part for {tag}: move what is unreleased under it")
    text = found[1].strip()
    if not text:
        raise ValueError(f"the part for {tag} in CHANGELOG.md is empty")
    return text + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tag", help="such as v1.2.3")
    try:
        sys.stdout.write(notes(CHANGELOG.read_text(encoding="utf-8"), parser.parse_args().tag))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
