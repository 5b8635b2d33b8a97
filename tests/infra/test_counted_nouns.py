"""A text has "1 job", never "1 jobs"; `infra.check.house` reads all of them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from infra.check.counted_nouns import find_plurals
from musicgen.errors.counts import format_count
from musicgen.errors.request_reasons import REQUEST_REASONS, RequestReason
from musicgen.errors.sound_reasons import SoundReason

COUNTED = 'format_count(n, "running job")'


@pytest.mark.parametrize(
    ("number", "noun", "plural", "text"),
    [
        (0, "job", None, "0 jobs"),
        (1, "job", None, "1 job"),
        (2, "running job", None, "2 running jobs"),
        (1, "entry", "entries", "1 entry"),
        (3, "entry", "entries", "3 entries"),
        (1.0, "minute", None, "1 minute"),
        (0.5, "minute", None, "0.5 minutes"),
        (12_345_678, "byte", None, "12345678 bytes"),
    ],
)
def test_a_number_chooses_the_form_of_its_noun(
    number: float, noun: str, plural: str | None, text: str
) -> None:
    assert format_count(number, noun, plural) == text


def test_a_reason_has_the_form_of_its_number() -> None:
    assert SoundReason("too_many_channels", most=1) == "has more than 1 channel"
    assert RequestReason("too_many_entries", most=1) == "must have at most 1 entry"
    reason = RequestReason("too_many_entries", most=2)
    assert reason == "must have at most 2 entries"
    assert reason.to_mapping() == {"reason": "too_many_entries", "values": {"most": 2}}


def test_a_reason_formats_its_other_values_as_before() -> None:
    values = {"low": 0.1, "high": 1e-12, "rest": ""}
    expected = REQUEST_REASONS["number_between"].format(**values)
    assert RequestReason("number_between", **values) == expected


@pytest.mark.parametrize(
    "code",
    [
        'f"{n} jobs"',
        'f"{len(paths)} files in {folder}"',
        'f"{n} running jobs stop"',
        'f"{done} of {total} steps"',
        'log("%d jobs failed", n)',
        'TEXTS = {"too_many": "has more than {most} channels"}',
        'TEXTS = {"too_long": "lasts {most:g} seconds"}',
    ],
)
def test_a_plural_behind_a_number_is_found(code: str) -> None:
    """Guards the guard: a scan that finds nothing would pass."""
    trees = {Path("one.py"): ast.parse(code), Path("other.py"): ast.parse(COUNTED)}
    assert len(find_plurals(trees)) == 1


@pytest.mark.parametrize(
    "code",
    [
        COUNTED,
        'f"{path} is missing"',
        'f"{path} holds no weights"',
        'f"{size:.1f} MB of jobs"',
        'f"{seconds:g} s left"',
        'f"{TEXT_MAX} characters"',
        'f"{limits.TEXT_MAX} characters"',
        'log("files=%d seconds=%.1f", n, seconds)',
        '"""The form is {n} jobs."""',
    ],
)
def test_other_texts_are_left_alone(code: str) -> None:
    trees = {Path("one.py"): ast.parse(code), Path("other.py"): ast.parse(COUNTED)}
    assert find_plurals(trees) == []
