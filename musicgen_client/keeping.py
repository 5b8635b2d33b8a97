"""Calls that keep and delete: names, favourites, zips, uploads. Steps as in `sending`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from musicgen_client.errors import NotFound
from musicgen_client.sending import Sender, Steps, read_answer
from musicgen_client.values import DeletedCounts, Job, UploadPage


class KeepingCalls:
    """The calls of a caller's history. `sender`: that of the other calls."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def delete(self, job_id: str) -> Steps[None]:
        """Delete a job with its files, an unfinished one after cancelling it."""
        path = f"/v1/jobs/{quote(job_id, safe='')}"
        yield from self._sender.send("POST", f"{path}/cancel")
        # Not found if an earlier attempt has deleted it, and its answer was lost.
        with suppress(NotFound):
            yield from self._sender.send("DELETE", path)

    def delete_everything(self) -> Steps[DeletedCounts]:
        """Delete all jobs and uploads of the key."""
        params = {"confirm": "everything"}
        response = yield from self._sender.send("DELETE", "/v1/jobs", params=params)
        return read_answer(response, DeletedCounts.from_mapping)

    def change(self, job_id: str, name: str | None, favourite: bool | None) -> Steps[Job]:
        """Name a job, or make it a favourite; None leaves either as it is."""
        changes = {"name": name, "favourite": favourite}
        body = {field: value for field, value in changes.items() if value is not None}
        path = f"/v1/jobs/{quote(job_id, safe='')}"
        response = yield from self._sender.send("PATCH", path, json=body)
        return read_answer(response, Job.from_mapping)

    def zip(self, job_ids: Sequence[str]) -> Steps[bytes]:
        """Download the clips of several jobs as one zip file."""
        params = {"id": list(job_ids)}
        response = yield from self._sender.send("GET", "/v1/jobs/zip", params=params)
        return bytes(response.content)

    def uploads(self, limit: int, before: str | None) -> Steps[UploadPage]:
        """Return a page of uploads."""
        params: dict[str, Any] = {"limit": limit}
        if before is not None:
            params["before"] = before
        response = yield from self._sender.send("GET", "/v1/uploads", params=params)
        return read_answer(response, UploadPage.from_mapping)

    def delete_upload(self, upload_id: str) -> Steps[None]:
        """Delete an upload."""
        yield from self._sender.send("DELETE", f"/v1/uploads/{quote(upload_id, safe='')}")
