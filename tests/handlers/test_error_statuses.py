"""Errors as they look from outside: one status and one code each."""

from __future__ import annotations

import inspect

import pytest

from handlers.contract import STATUSES, UNEXPECTED, ErrorReport, describe_error, find_status
from musicgen import errors
from musicgen.errors import DiskFull, InvalidDuration, MusicGenError

TREE = [
    cls
    for name, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, MusicGenError) and not name.startswith("_")
]
EXPECTED = {
    "InvalidRequest": 422,
    "UnknownModel": 422,
    "UnknownField": 422,
    "PromptTooLong": 422,
    "SettingsError": 500,
    "MissingDependency": 501,
    "CheckpointNotFound": 500,
    "CheckpointCorrupt": 500,
    "ModelTooLarge": 507,
    "NonFiniteLogits": 500,
    "GenerationCancelled": 499,
    "StorageError": 500,
    "DiskFull": 507,
    "NotWritable": 500,
    "InputAudioRefused": 422,
    "OutOfMemory": 507,
    "DeviceFault": 503,
    "InlineTooLarge": 413,
    "BucketRefused": 502,
    "UploadFailed": 502,
    "RemoteError": 502,
}


def _make(cls: type[MusicGenError]) -> MusicGenError:
    """An instance without its arguments: a status depends on the class alone."""
    return cls.__new__(cls)


@pytest.mark.parametrize("cls", TREE, ids=lambda cls: cls.__name__)
def test_every_error_has_a_status(cls: type[MusicGenError]) -> None:
    status = find_status(_make(cls))
    assert 400 <= status < 600
    assert status == EXPECTED.get(cls.__name__, status)
    if issubclass(cls, errors.InvalidRequest):
        assert status == 422, "what the caller can mend is never the server's fault"


def test_the_table_names_only_classes_of_the_tree() -> None:
    assert set(STATUSES) <= set(TREE)
    assert set(EXPECTED) <= {cls.__name__ for cls in TREE}


def test_every_code_is_distinct() -> None:
    """Guards a new class that forgets its `code` and answers with its parent's."""
    codes = [cls.code for cls in TREE]
    assert sorted(set(codes)) == sorted(codes)


def test_a_subclass_from_elsewhere_has_the_status_of_its_nearest_ancestor() -> None:
    class QuotaSpent(DiskFull):
        pass

    assert find_status(QuotaSpent("no room")) == 507


def test_a_typed_error_is_reported_with_its_code_and_text() -> None:
    error = InvalidDuration("duration", "must be a number from 0.1 to 30", value=99)
    assert describe_error(error) == ErrorReport(422, "invalid_duration", str(error))


def test_an_unexpected_error_keeps_its_text_to_itself() -> None:
    report = describe_error(FileNotFoundError("/secret/place"))
    assert report == ErrorReport(500, "internal_error", UNEXPECTED)
