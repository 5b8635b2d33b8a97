"""Release notes are the release's section of the changelog; without one there is no release."""

from __future__ import annotations

import pytest

from infra.release.notes import notes

TEXT = """# Changelog

## [Unreleased]

### Added
- Not yet.

## [1.2.0] - 2026-01-02

### Added
- Music.

## 1.1.0

- Less music.

## [1.0.0]
"""


@pytest.mark.parametrize(
    ("tag", "expected"),
    [("v1.2.0", "### Added\n- Music.\n"), ("v1.1.0", "- Less music.\n")],
)
def test_the_notes_are_the_part_of_the_version(tag: str, expected: str) -> None:
    assert notes(TEXT, tag) == expected


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("v2.0.0", "no heading for v2.0.0"),
        ("v1.2", "not a valid tag"),
        ("1.2.0", "not a valid tag"),
        ("v1.2.0; rm -rf /", "not a valid tag"),
        ("v1.0.0", "no text below"),
        ("v1x2.0", "not a valid tag"),
    ],
)
def test_a_release_without_notes_is_refused(tag: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        notes(TEXT, tag)
