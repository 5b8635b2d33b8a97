"""Refusal of a request by a remote deployment."""

from __future__ import annotations

import re

from musicgen.errors import InlineTooLarge, InvalidRequest, MusicGenError, RemoteError

_REQUEST_STATUSES = frozenset({400, 413, 422})
_HEAD = re.compile(r"(?:[A-Z][\w ]*: )*([a-z]+(?:_[a-z]+)*): ")
"""The code of one of our errors, also behind a platform's own prefix."""


class RemoteRefusal(RemoteError):
    """The deployment refused the request.

    Attributes: `reason`, in the deployment's words; `code_there`, the stable code of an error of
    our own deployments, else None; `is_request_fault`, whether the request itself must change. A
    repetition of such a request will not help, here or there.
    """

    def __init__(self, summary: str, reason: str, is_request_fault: bool | None = None) -> None:
        super().__init__(f"{summary}: {reason}")
        self.reason = reason
        self.code_there = _read_code(reason)
        if is_request_fault is None:
            request_codes = _list_codes(InvalidRequest) | {InlineTooLarge.code}
            is_request_fault = self.code_there in request_codes
        self.is_request_fault = is_request_fault

    @classmethod
    def from_status(cls, status: int, reason: str) -> RemoteRefusal:
        """Return the refusal of an HTTP status.

        A code in the reason comes first: on Hugging Face every error has status 400.
        """
        by_status = None if _read_code(reason) else status in _REQUEST_STATUSES
        return cls(f"HTTP {status}", reason, by_status)


def _read_code(reason: str) -> str | None:
    head = _HEAD.match(reason)
    return head[1] if head and head[1] in _list_codes(MusicGenError) else None


def _list_codes(base: type[MusicGenError]) -> set[str]:
    classes = [base]
    for cls in classes:
        classes += cls.__subclasses__()
    return {cls.code for cls in classes}
