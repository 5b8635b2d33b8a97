"""Lines of the tables in docs/."""

from __future__ import annotations


def head(*cells: str) -> list[str]:
    """Return the first two lines of a Markdown table."""
    return [line(*cells), "|---" * len(cells) + "|"]


def line(*cells: str) -> str:
    """Return one line of a Markdown table."""
    return f"| {' | '.join(cells)} |"
