"""Numbers with their nouns: "1 job", "2 jobs"."""

from __future__ import annotations


def format_count(number: float, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun in singular or plural.

    `noun`: the singular, which may begin with adjectives ("running job"). `plural`: where it is not
    the singular with an s.
    """
    shown = f"{number:g}" if isinstance(number, float) else str(number)
    return f"{shown} {noun if number == 1 else plural or f'{noun}s'}"
