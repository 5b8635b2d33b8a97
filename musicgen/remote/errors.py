"""A request that a deployment did not do, and whose fault that was."""

from __future__ import annotations

import re

from musicgen.errors import InlineTooLarge, InvalidRequest, MusicGenError, RemoteError

_OF_THE_REQUEST = frozenset({400, 413, 422})
_HEAD = re.compile(r"(?:[A-Z][\w ]*: )*([a-z]+(?:_[a-z]+)*): ")
"""The code of an error of ours, also behind what a platform writes before it."""


class Refused(RemoteError):
    """The deployment answered, and the answer is that it did not do it.

    Attributes: `reason`, in its own words; `code_there`, the stable code that our own deployments
    begin their reason with, else None; `of_the_request`, whether it is the request that would
    have to be another one: asking again, here or there, will not help.
    """

    def __init__(self, what: str, reason: str, of_the_request: bool | None = None) -> None:
        super().__init__(f"{what}: {reason}")
        self.reason = reason
        self.code_there = _code(reason)
        if of_the_request is None:
            of_the_request = self.code_there in _codes(InvalidRequest) | {InlineTooLarge.code}
        self.of_the_request = of_the_request

    @classmethod
    def by_status(cls, status: int, reason: str) -> Refused:
        """For an HTTP status. A code in the text says more: on Hugging Face every error is 400."""
        by_its_status = None if _code(reason) else status in _OF_THE_REQUEST
        return cls(f"HTTP {status}", reason, by_its_status)


def _code(reason: str) -> str | None:
    head = _HEAD.match(reason)
    return head[1] if head and head[1] in _codes(MusicGenError) else None


def _codes(base: type[MusicGenError]) -> set[str]:
    found = [base]
    for cls in found:
        found += cls.__subclasses__()
    return {cls.code for cls in found}
