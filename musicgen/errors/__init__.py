"""Every error of this project, as one tree; `handlers.contract` maps each to an HTTP status.

MusicGenError
├── InvalidRequest            the caller can correct it: field, problem, value
│   ├── UnknownField
│   ├── EmptyPrompt
│   ├── PromptTooLong
│   ├── InvalidDuration
│   ├── InvalidSeed
│   ├── InvalidVariations
│   ├── InvalidTopK
│   ├── InvalidTopP
│   ├── InvalidTemperature
│   ├── InvalidGuidance
│   ├── InvalidContinuation
│   ├── InvalidInputAudio
│   │   ├── InputAudioRefused      a forbidden address
│   │   ├── InputAudioUnreachable  a URL without a file, or a slow one
│   │   └── InputAudioTooLarge
│   ├── InvalidBitDepth
│   ├── UnknownModel
│   │   └── ModelUnavailable       of the catalog, but no worker can load it
│   ├── PartUnavailable        stems or notes without their packages
│   ├── UnknownFormat
│   └── UnknownStrategy
├── SettingsError             the operator can correct it: an environment variable
├── MissingDependency         an extra is not installed
├── OutdatedLibrary           the compiled native library is of another version
├── DatabaseTooNew            a newer program has migrated the database
├── DataFolderError           the data folder is in use elsewhere, or unusable
├── BackupError               a backup cannot be written or restored
├── CheckpointError           an unusable model folder
│   ├── CheckpointNotFound
│   ├── CheckpointIncomplete  a file or a tensor is missing
│   ├── CheckpointCorrupt     truncated or unreadable
│   ├── CheckpointMismatch    a tensor's shape differs from config.json
│   ├── UnsupportedCheckpoint an architecture this engine does not know
│   ├── UnsupportedAdapter    an adapter that is not merged here
│   └── MergeDiffers          an adapter that PEFT merges otherwise, found by `verify`
├── ModelTooLarge             refused before loading, with the numbers
├── GenerationError
│   ├── NonFiniteLogits
│   ├── OutOfMemory           the request was too large for the device's free memory
│   ├── EngineBusy            the queue is full: retry later, or elsewhere
│   ├── DeviceFault           the device is lost to this process: start another one
│   └── GenerationCancelled
├── DatabaseUnavailable       not reachable or not ready
├── RemoteError               another deployment did not do its part
└── StorageError              the clip was made but could not be stored
    ├── DiskFull
    ├── NotWritable
    ├── InlineTooLarge        too many bytes for an inline answer: use a bucket
    ├── BucketRefused         wrong credentials, no permission, no such bucket
    ├── UploadFailed          every attempt failed; the clip is in the spool folder
    ├── BucketUnavailable     the bucket cannot be read at present: retry later
    └── ObjectMissing         the bucket has no such object
"""

from musicgen.errors.base import OMITTED, MusicGenError, find_nearest, show_name, show_value
from musicgen.errors.operation import (
    BackupError,
    BucketRefused,
    BucketUnavailable,
    CheckpointCorrupt,
    CheckpointError,
    CheckpointIncomplete,
    CheckpointMismatch,
    CheckpointNotFound,
    DatabaseTooNew,
    DatabaseUnavailable,
    DataFolderError,
    DeviceFault,
    DiskFull,
    EngineBusy,
    GenerationCancelled,
    GenerationError,
    InlineTooLarge,
    MergeDiffers,
    MissingDependency,
    ModelTooLarge,
    NonFiniteLogits,
    NotWritable,
    ObjectMissing,
    OutdatedLibrary,
    OutOfMemory,
    RemoteError,
    SettingsError,
    StorageError,
    UnsupportedAdapter,
    UnsupportedCheckpoint,
    UploadFailed,
)
from musicgen.errors.request import (
    EmptyPrompt,
    InputAudioRefused,
    InputAudioTooLarge,
    InputAudioUnreachable,
    InvalidBitDepth,
    InvalidContinuation,
    InvalidDuration,
    InvalidGuidance,
    InvalidInputAudio,
    InvalidRequest,
    InvalidSeed,
    InvalidTemperature,
    InvalidTopK,
    InvalidTopP,
    InvalidVariations,
    ModelUnavailable,
    PartUnavailable,
    PromptTooLong,
    UnknownField,
    UnknownFormat,
    UnknownModel,
    UnknownStrategy,
)

__all__ = [
    "OMITTED",
    "BackupError",
    "BucketRefused",
    "BucketUnavailable",
    "CheckpointCorrupt",
    "CheckpointError",
    "CheckpointIncomplete",
    "CheckpointMismatch",
    "CheckpointNotFound",
    "DataFolderError",
    "DatabaseTooNew",
    "DatabaseUnavailable",
    "DeviceFault",
    "DiskFull",
    "EmptyPrompt",
    "EngineBusy",
    "GenerationCancelled",
    "GenerationError",
    "InlineTooLarge",
    "InputAudioRefused",
    "InputAudioTooLarge",
    "InputAudioUnreachable",
    "InvalidBitDepth",
    "InvalidContinuation",
    "InvalidDuration",
    "InvalidGuidance",
    "InvalidInputAudio",
    "InvalidRequest",
    "InvalidSeed",
    "InvalidTemperature",
    "InvalidTopK",
    "InvalidTopP",
    "InvalidVariations",
    "MergeDiffers",
    "MissingDependency",
    "ModelTooLarge",
    "ModelUnavailable",
    "MusicGenError",
    "NonFiniteLogits",
    "NotWritable",
    "ObjectMissing",
    "OutOfMemory",
    "OutdatedLibrary",
    "PartUnavailable",
    "PromptTooLong",
    "RemoteError",
    "SettingsError",
    "StorageError",
    "UnknownField",
    "UnknownFormat",
    "UnknownModel",
    "UnknownStrategy",
    "UnsupportedAdapter",
    "UnsupportedCheckpoint",
    "UploadFailed",
    "find_nearest",
    "show_name",
    "show_value",
]
