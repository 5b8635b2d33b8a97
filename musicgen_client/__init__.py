"""Python client of the MusicGen job API, synchronous and asynchronous.

It needs httpx alone. The models of a server have licences of their own: Meta's weights are
CC-BY-NC-4.0, not for commercial use (`client.models()`, `job.licence`).
"""

from musicgen_client.async_client import AsyncMusicGenClient
from musicgen_client.errors import (
    ApiError,
    AudioUnavailable,
    AuthenticationFailed,
    CannotWrite,
    Conflict,
    ConnectionFailed,
    InvalidRequest,
    JobCancelled,
    JobFailed,
    MissingKey,
    MusicGenClientError,
    NotFound,
    PermissionDenied,
    QueueFull,
    RateLimited,
    ServerError,
    ServerUnavailable,
    Unauthorized,
    UnexpectedAnswer,
    WaitTimeout,
)
from musicgen_client.fields import GenerationFields, Section
from musicgen_client.sending import RetryPolicy
from musicgen_client.sync_client import MusicGenClient
from musicgen_client.values import (
    DeletedCounts,
    Job,
    JobClip,
    JobClipPart,
    JobError,
    JobPage,
    Model,
    ModelList,
    State,
    StoredUpload,
    Upload,
    UploadPage,
)
from musicgen_client.version import VERSION

__version__ = VERSION

__all__ = [
    "ApiError",
    "AsyncMusicGenClient",
    "AudioUnavailable",
    "AuthenticationFailed",
    "CannotWrite",
    "Conflict",
    "ConnectionFailed",
    "DeletedCounts",
    "GenerationFields",
    "InvalidRequest",
    "Job",
    "JobCancelled",
    "JobClip",
    "JobClipPart",
    "JobError",
    "JobFailed",
    "JobPage",
    "MissingKey",
    "Model",
    "ModelList",
    "MusicGenClient",
    "MusicGenClientError",
    "NotFound",
    "PermissionDenied",
    "QueueFull",
    "RateLimited",
    "RetryPolicy",
    "Section",
    "ServerError",
    "ServerUnavailable",
    "State",
    "StoredUpload",
    "Unauthorized",
    "UnexpectedAnswer",
    "Upload",
    "UploadPage",
    "WaitTimeout",
    "__version__",
]
