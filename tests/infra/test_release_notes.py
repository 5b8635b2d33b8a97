"""A release says what its part of the changelog says, or is not made."""

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
        ("v2.0.0", "no part for v2.0.0"),
        ("v1.2", "not a tag"),
        ("1.2.0", "not a tag"),
        ("v1.2.0; rm -rf /", "not a tag"),
        ("v1.0.0", "is empty"),
        ("v1x2.0", "not a tag"),
    ],
)
def test_a_release_without_notes_is_refused(tag: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        notes(TEXT, tag)
