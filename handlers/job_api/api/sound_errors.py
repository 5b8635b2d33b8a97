"""Errors of calls that wait for their job and answer its sound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handlers.job_api.errors import ApiError, NotFound
from musicgen.errors import InvalidRequest, ModelUnavailable, UnknownModel

JOB_HEADER = "X-Job-Id"
_NO_RETRY = {"X-Should-Retry": "false"}
"""Header that OpenAI's clients obey: the same call again would be another job."""


class ModelNotFound(NotFound):
    """No model has this name; OpenAI's API answers 404."""

    code = "model_not_found"


class InvalidSound(ApiError):
    """A field of the body is wrong; OpenAI's API answers 400."""

    def __init__(self, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code, self.field = code, field


class JobFailed(ApiError):
    """The job of the call failed."""

    status = 500

    def __init__(self, job_id: str, error: Mapping[str, Any]) -> None:
        super().__init__(str(error.get("message") or "The job failed."))
        self.code, self.field = str(error.get("code") or "generation_failed"), error.get("field")
        # A field with a problem that only the worker could see, such as an unreadable sound.
        self.status = 400 if self.field else self.status
        self.headers = {JOB_HEADER: job_id, **_NO_RETRY}


class JobCancelled(ApiError):
    """Somebody cancelled the job of the call."""

    status, code = 409, "cancelled"

    def __init__(self, job_id: str) -> None:
        super().__init__("The job was cancelled.")
        self.headers = {JOB_HEADER: job_id, **_NO_RETRY}


class WaitTimeout(ApiError):
    """The job took longer than a call may wait; it goes on."""

    status, code = 504, "wait_timeout"

    def __init__(self, job_id: str, seconds: int) -> None:
        path = f"/v1/status/{job_id}"
        super().__init__(
            f"The sound is not ready after {seconds} s, the limit of a waiting call. The job goes "
            f"on: GET {path} names the clip once it is completed."
        )
        self.headers = {JOB_HEADER: job_id, "Location": path, **_NO_RETRY}


class ServerStopping(ApiError):
    """The server stops while the call waits."""

    status, code = 503, "stopping"
    retry_after = 5

    def __init__(self) -> None:
        super().__init__("The server is stopping. Send the same call again.", self.retry_after)


def translate_error(error: InvalidRequest, names: Mapping[str, str]) -> ApiError:
    """Return the error for a caller of another API. `names`: our fields by theirs."""
    theirs = {ours: name for name, ours in names.items()}
    field = theirs.get(error.field, error.field)
    if isinstance(error, UnknownModel):
        missing = ModelNotFound(f"The model {error.value!r} does not exist. GET /v1/models lists.")
        if isinstance(error, ModelUnavailable):
            problem = f"No worker here can load the model {error.value!r}."
            missing = ModelNotFound(f"{problem} {error.advice}")
        missing.field = "model"
        return missing
    return InvalidSound(error.code, field + str(error).removeprefix(error.field), field)
