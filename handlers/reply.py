"""Replies of RunPod and Hugging Face as JSON: one form for both."""

from __future__ import annotations

from typing import Any

from handlers.contract import describe_error
from musicgen.result import GenerationResult
from musicgen.settings import BucketSettings, Delivery

LIVE_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg", "ogg": "audio/ogg"}
"""Content types of live sound by output_format."""
_DATA_URI = "data:"


def choose_delivery(bucket: BucketSettings) -> Delivery:
    """Return delivery into the configured bucket, or without one into the reply itself."""
    return Delivery(bucket if bucket.name else None)


def build_reply(result: GenerationResult) -> dict[str, Any]:
    """Return a result as plain JSON types.

    Each of `clips`, and of their `parts`, has either `audio`, base64 without line breaks, or `url`.
    """
    reply = result.to_mapping()
    reply["clips"] = [_build_clip(mapping) for mapping in reply["clips"]]
    return reply


def format_error(error: BaseException) -> str:
    """Return an error as one line: its stable code, a colon, and a text for a person."""
    report = describe_error(error)
    return f"{report.code}: {report.text}"


def _build_clip(mapping: dict[str, Any]) -> dict[str, Any]:
    mapping["sampling_rate"] = mapping.pop("sample_rate")
    if mapping["parts"]:
        mapping["parts"] = [_deliver(part) for part in mapping["parts"]]
    else:
        del mapping["parts"]
    return _deliver(mapping)


def _deliver(mapping: dict[str, Any]) -> dict[str, Any]:
    """Return the mapping of a file with `audio` or `url` in place of its address."""
    address = mapping.pop("address")
    if address.startswith(_DATA_URI):
        return {"audio": address.partition(",")[2], **mapping}
    return {"url": address, **mapping}
