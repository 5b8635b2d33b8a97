"""Errors of settings, checkpoints, generation and storage."""

from __future__ import annotations

from musicgen.errors.base import MusicGenError, show_value
from musicgen.errors.installing import describe_install


class SettingsError(MusicGenError):
    """A setting holds a value that is not allowed: an environment variable, or an option.

    Attributes: `variable`, its name. The message reads `VARIABLE PROBLEM (was VALUE). ADVICE`.
    """

    code = "invalid_settings"

    def __init__(
        self, variable: str, problem: str, *, value: object = None, advice: str = ""
    ) -> None:
        was = "" if value is None else f" (was {show_value(value)})"
        super().__init__(f"{variable} {problem}{was}.{f' {advice}' if advice else ''}")
        self.variable = variable


class MissingDependency(MusicGenError):
    """A feature needs a package that is not installed."""

    code = "missing_dependency"

    def __init__(self, package: str, purpose: str, extra: str, otherwise: str = "") -> None:
        super().__init__(
            f"{purpose} needs the package {package}, and it is not installed. Run "
            f"{describe_install(extra)}.{otherwise and f' {otherwise}'}"
        )
        self.package = package


class OutdatedLibrary(MusicGenError):
    """The compiled native library is of another version than the Python code."""

    code = "outdated_library"

    def __init__(self, file: str, function: str) -> None:
        super().__init__(
            f"{file} was compiled from another version: it lacks {function}. Install the project "
            "again: run pip install -e . with a C++ compiler in its folder."
        )
        self.function = function


class DatabaseTooNew(MusicGenError):
    """The database was changed by a newer program in a way this one cannot work with.

    `database`, `program`: package, version and newest migration of each.
    """

    code = "database_too_new"

    def __init__(self, database: str, program: str) -> None:
        super().__init__(
            f"The database has the schema of {database}, newer than {program} of this program. "
            "Start the newer program, or restore a backup from before the upgrade."
        )


class DataFolderError(MusicGenError):
    """The data folder cannot hold the embedded database: it is in use elsewhere, or read-only."""

    code = "data_folder_unusable"


class BackupError(MusicGenError):
    """A backup of the job API cannot be written or restored."""

    code = "backup_error"


class CheckpointError(MusicGenError):
    """A checkpoint cannot be used."""

    code = "checkpoint_error"


class CheckpointNotFound(CheckpointError):
    """No checkpoint was found under this name or address."""

    code = "checkpoint_not_found"


class CheckpointIncomplete(CheckpointError):
    """A file or a tensor of a checkpoint is missing."""

    code = "checkpoint_incomplete"


class CheckpointCorrupt(CheckpointError):
    """A file of a checkpoint is truncated or unreadable."""

    code = "checkpoint_corrupt"


class CheckpointMismatch(CheckpointError):
    """A tensor's shape differs from the configuration."""

    code = "checkpoint_mismatch"


class UnsupportedCheckpoint(CheckpointError):
    """The architecture of a checkpoint is not supported."""

    code = "unsupported_checkpoint"


class UnsupportedAdapter(CheckpointError):
    """An adapter is of a kind, or has an option or tensor, that is not merged here."""

    code = "unsupported_adapter"


class MergeDiffers(CheckpointError):
    """This project's merge of an adapter differs from PEFT's: the music would be wrong."""

    code = "merge_differs"


class ModelTooLarge(MusicGenError):
    """The model needs more memory than the device has free. Sizes are bytes."""

    code = "model_too_large"

    def __init__(self, model: str, precision: str, device: str, needed: int, free: int) -> None:
        super().__init__(
            f"{model} in {precision} needs about {_gigabytes(needed)} on {device} "
            f"({_gigabytes(free)} free). Choose a smaller model, another precision or a larger "
            "machine."
        )
        self.needed = needed
        self.free = free


class GenerationError(MusicGenError):
    """Generating a clip failed."""

    code = "generation_failed"


class NonFiniteLogits(GenerationError):
    """The logits hold NaN or infinity."""

    code = "non_finite_logits"

    def __init__(self, step: int, precision: str) -> None:
        super().__init__(
            f"The model produced NaN or infinite logits at or before step {step} in {precision}, "
            "so no audio was made. Try precision float32, and check the weights with "
            "`musicgen verify`."
        )
        self.step = step


class OutOfMemory(GenerationError):
    """The request was too large for the device's free memory."""

    code = "out_of_memory"


class EngineBusy(GenerationError):
    """The queue is full: retry later, or elsewhere."""

    code = "engine_busy"


class DeviceFault(GenerationError):
    """The device is lost to this process: every later request would fail too."""

    code = "device_fault"


class GenerationCancelled(GenerationError):
    """The request was cancelled."""

    code = "cancelled"


class StorageError(MusicGenError):
    """A clip was made but could not be stored.

    `is_for_callers`: the message names no folder, host or bucket of the operator.
    """

    code = "storage_error"
    is_for_callers = False

    def __init__(self, message: str, *, is_for_callers: bool | None = None) -> None:
        super().__init__(message)
        if is_for_callers is not None:
            self.is_for_callers = is_for_callers


class DiskFull(StorageError):
    """The disk has no room for the clip."""

    code = "disk_full"


class NotWritable(StorageError):
    """The folder cannot be written to."""

    code = "not_writable"


class InlineTooLarge(StorageError):
    """The clips are too large for an inline answer."""

    code = "inline_too_large"
    is_for_callers = True


class BucketRefused(StorageError):
    """The bucket refused the upload: credentials, permission or name."""

    code = "bucket_refused"


class UploadFailed(StorageError):
    """Every attempt to upload failed; the clip is in the spool folder."""

    code = "upload_failed"


class BucketUnavailable(StorageError):
    """The bucket cannot be reached at present; a later try may succeed."""

    code = "bucket_unavailable"


class ObjectMissing(StorageError):
    """The bucket has no such object."""

    code = "object_missing"


class DatabaseUnavailable(MusicGenError):
    """The database cannot be reached or is not ready; it may be later."""

    code = "database_away"


class RemoteError(MusicGenError):
    """Another deployment did not do its part."""

    code = "remote_error"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
