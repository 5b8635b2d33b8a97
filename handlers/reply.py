"""What a caller of RunPod or Hugging Face gets as JSON: one form for both."""

from __future__ import annotations

from typing import Any

from handlers.contract import report_of
from musicgen.result import Clip, GenerationResult
from musicgen.settings import BucketSettings, Delivery

_DATA_URI = "data:"


def delivery_of(bucket: BucketSettings) -> Delivery:
    """Into the bucket that is configured; without one into the answer itself."""
    return Delivery(bucket if bucket.name else None)


def reply_of(result: GenerationResult) -> dict[str, Any]:
    """A result as plain JSON types.

    Each of `clips` has `audio`, base64 without a line break, or `url`, and never both.
    """
    reply = result.to_mapping()
    pairs = zip(result.clips, reply["clips"], strict=True)
    reply["clips"] = [_clip(clip, shown) for clip, shown in pairs]
    return reply


def error_text(error: BaseException) -> str:
    """An error as one line: its stable code, a colon, and a text for a person."""
    report = report_of(error)
    return f"{report.code}: {report.text}"


def _clip(clip: Clip, shown: dict[str, Any]) -> dict[str, Any]:
    del shown["address"]
    shown["sampling_rate"] = shown.pop("sample_rate")
    if clip.address.startswith(_DATA_URI):
        return {"audio": clip.address.partition(",")[2], **shown}
    return {"url": clip.address, **shown}
