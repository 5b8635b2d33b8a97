"""What handlers share: the predictor that they need, and how an error looks from outside.

| error | status | why |
|---|---|---|
| `InvalidRequest` and below | 422 | the caller can mend the field that the text names |
| `GenerationCancelled` | 499 | nobody waits for the answer any more |
| `MissingDependency` | 501 | this installation lacks the feature: asking again will not help |
| `ModelTooLarge`, `OutOfMemory`, `DiskFull` | 507 | no room for it, in memory or on disk |
| `InlineTooLarge` | 413 | a bucket, a shorter clip or another format fits |
| `BucketRefused`, `UploadFailed`, `RemoteError` | 502 | another server did not do its part |
| `DeviceFault` | 503 | another worker can do it: this one has to be replaced |
| `EngineBusy` | 503 | too many wait already: later, or another worker |
| every other one | 500 | the operator can mend it |

`UnknownModel` is 422 and not 404: the address exists, a field of the body is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from musicgen.errors import (
    BucketRefused,
    DeviceFault,
    DiskFull,
    EngineBusy,
    GenerationCancelled,
    InlineTooLarge,
    InvalidRequest,
    MissingDependency,
    ModelTooLarge,
    MusicGenError,
    OutOfMemory,
    RemoteError,
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
    DeviceFault: 503,
    EngineBusy: 503,
}
"""A class without an entry has the status of its nearest ancestor."""

UNEXPECTED = "the request failed unexpectedly; the operator's log has the reason"


class ServedPredictor(Protocol):
    """What handlers use of `musicgen.predictor.Predictor`; see there."""

    @property
    def model(self) -> str: ...

    @property
    def label(self) -> str: ...

    @property
    def licence(self) -> str: ...

    @property
    def slots(self) -> int: ...

    def start(
        self,
        request: GenerationRequest,
        job_id: str | None = None,
        *,
        stream: StreamForm | None = None,
        delivery: Delivery | None = None,
    ) -> Generation: ...

    @property
    def models_kept(self) -> int: ...

    def other(self, name: str) -> ServedPredictor: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class ErrorReport:
    """An error as callers may see it: `code` is stable, `text` is for a person."""

    status: int
    code: str
    text: str


def status_of(error: BaseException) -> int:
    """The HTTP status of an error, by its nearest ancestor in `STATUSES`; others are 500."""
    known = (STATUSES[cls] for cls in type(error).__mro__ if cls in STATUSES)
    return next(known, STATUSES[MusicGenError])


def report_of(error: BaseException) -> ErrorReport:
    """What to tell a caller. Of an error outside the tree the text stays here: it may hold paths
    and values that are not the caller's."""
    if isinstance(error, MusicGenError):
        return ErrorReport(status_of(error), error.code, str(error))
    return ErrorReport(status_of(error), MusicGenError.code, UNEXPECTED)
