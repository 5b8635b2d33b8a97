"""Every error a caller can meet, as one tree; `handlers.contract` maps each to an HTTP status.

MusicGenError
├── InvalidRequest            the caller can mend it: field, value and what is allowed
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
│   │   ├── InputAudioRefused      an address that must not be asked
│   │   ├── InputAudioUnreachable  a URL that gives no file in time
│   │   └── InputAudioTooLarge
│   ├── InvalidBitDepth
│   ├── UnknownModel
│   ├── UnknownFormat
│   └── UnknownStrategy
├── SettingsError             the operator can mend it: a variable of the environment
├── MissingDependency         an extra is not installed
├── CheckpointError           a model folder that cannot be used
│   ├── CheckpointNotFound
│   ├── CheckpointIncomplete  a file or a tensor is missing
│   ├── CheckpointCorrupt     truncated or unreadable
│   ├── CheckpointMismatch    a tensor has another shape than config.json says
│   └── UnsupportedCheckpoint an architecture this engine does not know
├── ModelTooLarge             refused before loading, with the numbers
├── GenerationError
│   ├── NonFiniteLogits
│   ├── OutOfMemory           this request was too large for what the device had free
│   ├── EngineBusy            as many requests wait as may: later, or elsewhere
│   ├── DeviceFault           the device is lost to this process: start another one
│   └── GenerationCancelled
├── RemoteError               another deployment did not do what was asked of it
└── StorageError              the clip was made but could not be kept
    ├── DiskFull
    ├── NotWritable
    ├── InlineTooLarge        too many bytes for an answer: a bucket takes them
    ├── BucketRefused         wrong credentials, no permission, no such bucket
    └── UploadFailed          every attempt failed; the clip is in the spool folder
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class MusicGenError(Exception):
    """Base of all errors of this project. `code` is stable: callers may switch on it."""

    code = "internal_error"


class InvalidRequest(MusicGenError):
    """One field of a request holds a value that is not allowed.

    Attributes: `field`, `value` (as given) and `allowed` (a sentence for a person).
    """

    code = "invalid_request"

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(f"{field}={_shown(value)} is not allowed: {allowed}")
        self.field = field
        self.value = value
        self.allowed = allowed


class UnknownField(InvalidRequest):
    code = "unknown_field"

    def __init__(self, field: str, value: object, known: Iterable[str]) -> None:
        names = sorted(known)
        super().__init__(
            field,
            value,
            f"unknown field{_did_you_mean(field, names)}; the fields are {', '.join(names)}",
        )


class EmptyPrompt(InvalidRequest):
    code = "empty_prompt"


class PromptTooLong(InvalidRequest):
    code = "prompt_too_long"


class InvalidDuration(InvalidRequest):
    code = "invalid_duration"


class InvalidSeed(InvalidRequest):
    code = "invalid_seed"


class InvalidVariations(InvalidRequest):
    code = "invalid_variations"


class InvalidTopK(InvalidRequest):
    code = "invalid_top_k"


class InvalidTopP(InvalidRequest):
    code = "invalid_top_p"


class InvalidTemperature(InvalidRequest):
    code = "invalid_temperature"


class InvalidGuidance(InvalidRequest):
    code = "invalid_guidance"


class InvalidContinuation(InvalidRequest):
    code = "invalid_continuation"


class InvalidInputAudio(InvalidRequest):
    code = "invalid_input_audio"


class InputAudioRefused(InvalidInputAudio):
    code = "input_audio_refused"


class InputAudioUnreachable(InvalidInputAudio):
    code = "input_audio_unreachable"


class InputAudioTooLarge(InvalidInputAudio):
    code = "input_audio_too_large"


class InvalidBitDepth(InvalidRequest):
    code = "invalid_bit_depth"


class _UnknownChoice(InvalidRequest):
    def __init__(self, field: str, value: object, choices: Iterable[str]) -> None:
        names = list(choices)
        super().__init__(
            field, value, f"choose one of {', '.join(names)}{_did_you_mean(str(value), names)}"
        )


class UnknownModel(_UnknownChoice):
    code = "unknown_model"


class UnknownFormat(_UnknownChoice):
    code = "unknown_format"


class UnknownStrategy(_UnknownChoice):
    code = "unknown_strategy"


class SettingsError(MusicGenError):
    code = "invalid_settings"

    def __init__(self, variable: str, value: str, allowed: str) -> None:
        super().__init__(f"{variable}={_shown(value)} is not allowed: {allowed}")
        self.variable = variable


class MissingDependency(MusicGenError):
    """A feature needs a package that is not installed."""

    code = "missing_dependency"

    def __init__(self, package: str, purpose: str, extra: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed: "
            f"pip install 'musicgen-serverless[{extra}]'"
        )
        self.package = package


class CheckpointError(MusicGenError):
    code = "checkpoint_error"


class CheckpointNotFound(CheckpointError):
    code = "checkpoint_not_found"


class CheckpointIncomplete(CheckpointError):
    code = "checkpoint_incomplete"


class CheckpointCorrupt(CheckpointError):
    code = "checkpoint_corrupt"


class CheckpointMismatch(CheckpointError):
    code = "checkpoint_mismatch"


class UnsupportedCheckpoint(CheckpointError):
    code = "unsupported_checkpoint"


class ModelTooLarge(MusicGenError):
    """The model needs more memory than the device has free. Sizes are bytes."""

    code = "model_too_large"

    def __init__(self, model: str, precision: str, device: str, needed: int, free: int) -> None:
        super().__init__(
            f"{model} in {precision} needs about {_gigabytes(needed)} on {device}, "
            f"which has {_gigabytes(free)} free: choose a smaller model, "
            "precision=bfloat16, or a larger machine"
        )
        self.needed = needed
        self.free = free


class GenerationError(MusicGenError):
    code = "generation_failed"


class NonFiniteLogits(GenerationError):
    code = "non_finite_logits"

    def __init__(self, step: int, precision: str) -> None:
        super().__init__(
            f"the model produced NaN or infinite logits by step {step} in {precision}; no audio "
            "was made: try precision=float32, and check the weights with `musicgen verify`"
        )
        self.step = step


class OutOfMemory(GenerationError):
    code = "out_of_memory"


class EngineBusy(GenerationError):
    code = "engine_busy"


class DeviceFault(GenerationError):
    """The device failed in a way that no later request of this process survives."""

    code = "device_fault"


class GenerationCancelled(GenerationError):
    code = "cancelled"


class StorageError(MusicGenError):
    code = "storage_error"


class DiskFull(StorageError):
    code = "disk_full"


class NotWritable(StorageError):
    code = "not_writable"


class InlineTooLarge(StorageError):
    code = "inline_too_large"


class BucketRefused(StorageError):
    code = "bucket_refused"


class UploadFailed(StorageError):
    code = "upload_failed"


class RemoteError(MusicGenError):
    code = "remote_error"


def _shown(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
