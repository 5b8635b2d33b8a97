"""Decoder rows of a job: which clips are guided, by which prompts. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from musicgen.engine.interface import GenerationJob, Row


def count_decoder_rows(job: GenerationJob) -> int:
    """Return the decoder rows a job reserves: its clips, and the rows of their guidance.

    For a job with several prompt spans this is the maximum over the spans.
    """
    has_style = job.style is not None
    hears = has_style or job.melody is not None
    return max(
        len(rows) + len(find_guided(rows, hears)) + len(find_styled(rows, has_style))
        for rows in build_span_rows(job)
    )


def build_span_rows(job: GenerationJob) -> list[tuple[Row, ...]]:
    """Return the rows of each prompt span, with the prompt of that span."""
    if not job.spans:
        return [job.rows]
    return [tuple(replace(row, prompt=span.prompt) for row in job.rows) for span in job.spans]


def find_guided(rows: Sequence[Row], has_melody: bool) -> tuple[int, ...]:
    """Return the indices of the rows with guidance that has an effect."""
    return tuple(i for i, row in enumerate(rows) if is_guided(row, has_melody))


def is_guided(row: Row, has_melody: bool) -> bool:
    """Return whether guidance has an effect: not for a row without any condition."""
    has_condition = has_melody or row.prompt.strip() or row.negative_prompt.strip()
    return row.sampling.guidance != 1 and bool(has_condition)


def find_styled(rows: Sequence[Row], has_style: bool) -> tuple[int, ...]:
    """Return the indices of the guided rows whose text is guided apart from the style."""
    return tuple(
        i
        for i in find_guided(rows, has_style)
        if has_style and rows[i].sampling.text_guidance is not None and rows[i].prompt.strip()
    )
