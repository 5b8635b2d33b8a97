"""Shared contract of the handlers: the predictor they need and the public form of errors.

| error | status | why |
|---|---|---|
| `InvalidRequest` and below | 422 | the caller can correct the named field |
| `GenerationCancelled` | 499 | nobody waits for the answer any more |
| `MissingDependency` | 501 | this installation lacks the feature: a retry will not help |
| `ModelTooLarge`, `OutOfMemory`, `DiskFull` | 507 | not enough memory or disk space |
| `InlineTooLarge` | 413 | use a bucket, a shorter clip or another format |
| `BucketRefused`, `UploadFailed`, `RemoteError` | 502 | another server failed |
| `BucketUnavailable` | 503 | retry later: the bucket cannot be reached at present |
| `DeviceFault` | 503 | another worker can serve it; this one must be replaced |
| `DatabaseUnavailable` | 503 | the database is away for a while |
| `EngineBusy` | 503 | too many requests wait: retry later, or on another worker |
| every other one | 500 | the operator can correct it |

`UnknownModel` is 422 and not 404: the address exists, a field of the body is wrong.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

from musicgen.errors import (
    BackupError,
    BucketRefused,
    BucketUnavailable,
    CheckpointError,
    DatabaseTooNew,
    DatabaseUnavailable,
    DataFolderError,
    DeviceFault,
    DiskFull,
    EngineBusy,
    GenerationCancelled,
    InlineTooLarge,
    InvalidRequest,
    MissingDependency,
    ModelTooLarge,
    MusicGenError,
    NotWritable,
    OutdatedLibrary,
    OutOfMemory,
    RemoteError,
    SettingsError,
    StorageError,
    UploadFailed,
)
from musicgen.generation import Generation
from musicgen.request import GenerationRequest, StreamForm
from musicgen.settings import Delivery

STATUSES: dict[type[MusicGenError], int] = {
    MusicGenError: 500,
    InvalidRequest: 422,
    GenerationCancelled: 499,
    MissingDependency: 501,
    ModelTooLarge: 507,
    OutOfMemory: 507,
    DiskFull: 507,
    InlineTooLarge: 413,
    BucketRefused: 502,
    UploadFailed: 502,
    RemoteError: 502,
    BucketUnavailable: 503,
    DatabaseUnavailable: 503,
    DeviceFault: 503,
    EngineBusy: 503,
}
"""HTTP statuses. A class without an entry has the status of its nearest ancestor."""

_LOG = "The operator's log has the reason."
CALLER_TEXTS: dict[type[MusicGenError], str] = {
    SettingsError: f"A setting of the server is wrong. {_LOG}",
    CheckpointError: f"The server cannot use this model. {_LOG}",
    ModelTooLarge: "The model needs more memory than the server has free. Choose a smaller model.",
    StorageError: f"The server could not store the clip. {_LOG}",
    DiskFull: "The server has no disk space left for the clip. Try again later.",
    NotWritable: f"The server cannot write to its disk. {_LOG}",
    UploadFailed: f"The server could not upload the clip to its bucket. {_LOG}",
    BucketRefused: f"The server's bucket refused the clip. {_LOG}",
    BucketUnavailable: "The server's bucket is unavailable at present. Try again later.",
    DataFolderError: f"The server cannot use its database. {_LOG}",
    OutdatedLibrary: f"The server is installed incompletely. {_LOG}",
    DatabaseTooNew: f"The server cannot use its database. {_LOG}",
    DatabaseUnavailable: "The server's database is unavailable at present. Try again later.",
    BackupError: f"The server could not back up or restore its data. {_LOG}",
    RemoteError: f"Another deployment did not do its part. {_LOG}",
}
"""Texts in place of messages for the operator, which name folders, hosts and settings. A class
without an entry has the text of its nearest ancestor, or its own message."""

UNEXPECTED = "the request failed unexpectedly; the operator's log has the reason"


logger = logging.getLogger(__name__)


class ServedPredictor(Protocol):
    """Part of `musicgen.predictor.Predictor` used by handlers; see there."""

    @property
    def model(self) -> str:
        """Catalog name, folder or hub name of the loaded model."""

    @property
    def label(self) -> str:
        """Public name of the loaded model."""

    @property
    def licence(self) -> str:
        """Licence of the weights."""

    @property
    def slots(self) -> int:
        """Number of requests decoded at once."""

    def start(
        self,
        request: GenerationRequest,
        job_id: str | None = None,
        *,
        stream: StreamForm | None = None,
        delivery: Delivery | None = None,
    ) -> Generation:
        """Start a request, to be pulled step by step."""

    @property
    def models_kept(self) -> int:
        """Number of models loaded at once, this one included."""

    def other(self, name: str) -> ServedPredictor:
        """Return a predictor of another model."""

    def close(self) -> None:
        """Free the weights."""


@dataclass(frozen=True)
class ErrorReport:
    """Public form of an error: HTTP status, stable `code`, and `text` for a person."""

    status: int
    code: str
    text: str


def find_status(error: BaseException) -> int:
    """Return the HTTP status of an error: its nearest ancestor's in `STATUSES`, else 500."""
    known = (STATUSES[cls] for cls in type(error).__mro__ if cls in STATUSES)
    return next(known, STATUSES[MusicGenError])


def describe_error(error: BaseException) -> ErrorReport:
    """Return the public form of an error, and log a message that its caller does not get.

    An error outside the tree gets a fixed text: its own may hold paths and other callers' values.
    """
    if not isinstance(error, MusicGenError):
        return ErrorReport(find_status(error), MusicGenError.code, UNEXPECTED)
    text = find_caller_text(error)
    if text is not None:
        logger.error("%s: %s", error.code, error)
    return ErrorReport(find_status(error), error.code, str(error) if text is None else text)


def find_caller_text(error: MusicGenError) -> str | None:
    """Return the text in place of an error's message, None if the message is for callers."""
    if isinstance(error, StorageError) and error.is_for_callers:
        return None
    texts = (CALLER_TEXTS[cls] for cls in type(error).__mro__ if cls in CALLER_TEXTS)
    return next(texts, None)
