"""Status of a job, as JSON for its caller, with estimates from the load of the queue."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from handlers.job_api.store import queue
from handlers.job_api.store.files import count_clips
from handlers.job_api.store.queue_load import QueueLoad
from musicgen.midi import packages as midi

_HIDDEN = ("address",)
_TELLING_PROGRESS = 0.05
"""Progress from which it shows the pace of a job: before its first step the prompts are encoded."""


def build_status(row: Mapping[str, Any], load: QueueLoad | None = None) -> dict[str, Any]:
    """Return the status JSON of a job's row.

    The expected seconds need `load`, and of a running job the row's `elapsed`.
    """
    state, job_id = row["state"], row["id"]
    extension = row["request"].get("output_format", "wav")
    is_done = state == "completed"
    urls = [audio_url(job_id, n + 1, extension) for n in range(count_clips(row["request"]))]
    return {
        "job_id": job_id,
        "status": state,
        "progress": round(float(row["progress"]), 4),
        "position": row["position"] if state == "queued" else None,
        "expected_seconds": _estimate_seconds(row, load) if load else None,
        "created_at": _format_time(row["created_at"]),
        "started_at": _format_time(row["started_at"]),
        "finished_at": _format_time(row["finished_at"]),
        "audio_url": urls[0] if is_done else None,
        "audio_urls": urls if is_done else None,
        "stream_url": f"/v1/audio/{job_id}/stream"
        if row["streams"] and state == "running"
        else None,
        "name": row["name"],
        "favourite": row["favourite"],
        "request": row["request"],
        "priority": row["priority"],
        "attempt": row["attempt"],
        "result": _build_result(row["result"], urls) if is_done else None,
        "error": row["error"],
    }


def audio_url(job_id: str, number: int, extension: str) -> str:
    """Return the URL of a clip on this server; `number` counts from 1."""
    return f"/audio/{job_id}{'' if number == 1 else f'-{number}'}.{extension}"


def _build_result(result: Mapping[str, Any], urls: list[str]) -> dict[str, Any]:
    clips = [
        _build_clip(clip, *url.rsplit(".", 1))
        for url, clip in zip(urls, result["clips"], strict=True)
    ]
    return {**result, "clips": clips, "manifest": None}


def _build_clip(clip: Mapping[str, Any], base: str, extension: str) -> dict[str, Any]:
    """Return a clip with the addresses of its files; all begin with `base`."""
    parts = clip.get("parts") or []
    midi_url = f"{base}.{midi.EXTENSION}"
    has_midi = midi.find_missing() is None or any(part["name"] == midi.PART for part in parts)
    urls = [
        midi_url if part["name"] == midi.PART else f"{base}-{part['name']}.{extension}"
        for part in parts
    ]
    return {
        "url": f"{base}.{extension}",
        "midi_url": midi_url if has_midi else None,
        **_leave_out_hidden(clip),
        "parts": [
            {"url": url, **_leave_out_hidden(part)} for url, part in zip(urls, parts, strict=True)
        ],
    }


def _leave_out_hidden(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name not in _HIDDEN}


def _estimate_seconds(row: Mapping[str, Any], load: QueueLoad) -> float | None:
    """Return the seconds until a job finishes.

    None if it has finished, no worker can make it, or no job of its kind has been measured.
    """
    audio, needs = float(row["audio_seconds"]), row["needs"]
    is_remote = row["queue"] == queue.REMOTE
    music = audio * load.paces.find_music_pace(needs, is_remote=is_remote)
    parts = audio * load.paces.find_parts_pace(needs, is_remote=is_remote)
    is_measured = load.paces.is_measured(needs, is_remote=is_remote)
    if row["state"] == "running":
        if is_measured or (not parts and _TELLING_PROGRESS <= row["progress"] < 1):
            return round(_estimate_rest(row, music, parts), 1)
        return None
    if row["state"] != "queued" or not is_measured:
        return None
    backlog = load.estimate_backlog(needs, without=music + parts)
    if backlog is None:
        return None
    # The work before this job, estimated from its place among the waiting ones.
    return round(backlog * load.find_share(row["position"]) + music + parts, 1)


def _estimate_rest(row: Mapping[str, Any], music: float, parts: float) -> float:
    """Return the seconds until a running job finishes, of the estimates of its whole work."""
    done = float(row["progress"])
    if done < _TELLING_PROGRESS:
        return music * (1 - done) + parts
    elapsed = max(0.0, float(row["elapsed"]))
    if done < 1:
        return elapsed * (1 - done) / done + parts
    # Progress counts the steps of the music; the parts of its clips come after them.
    return max(0.0, music + parts - elapsed)


def _format_time(value: datetime | None) -> str | None:
    if value is None:
        return None
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
