"""Server-sent events of a job, across lost connections."""

from __future__ import annotations

import json
from typing import Any

from musicgen_client.errors import ConnectionFailed, UnexpectedAnswer
from musicgen_client.sending import RetryPolicy, compute_pause, describe_loss
from musicgen_client.values import Job

EVENT_MAX_CHARACTERS = 4_000_000
"""A status of a job is much shorter; a server that sends more is not a job API."""


class JobFollower:
    """Reader of a job's events. A new connection begins with the present state.

    `policy`: attempts without any event before the follower gives up.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._data: list[str] = []
        self._size = 0
        self._last: Any = None
        self._losses = 0

    def start(self) -> None:
        """Begin with a new connection; half an event of the last one is dropped."""
        self._data, self._size = [], 0

    def read(self, line: str) -> Job | None:
        """Return the job of an event that a line ends, or None. Raises: `UnexpectedAnswer`."""
        if line.startswith("data:"):
            self._data.append(line[len("data:") :].removeprefix(" "))
            self._size += len(line)
            if self._size > EVENT_MAX_CHARACTERS:
                raise UnexpectedAnswer("an event of the server is too long")
            return None
        if line or not self._data:
            return None  # another field, a comment, or an event without data
        text = "\n".join(self._data)
        self.start()
        try:
            mapping = json.loads(text)
            job = Job.from_mapping(mapping)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UnexpectedAnswer(f"an event is not a status (was {text[:200]!r})") from None
        self._losses = 0
        if mapping == self._last:
            return None
        self._last = mapping
        return job

    def lose(self, error: Exception | None) -> float:
        """Return the seconds before the next connection, after a lost or ended one.

        Raises: `ConnectionFailed` after too many in a row without an event.
        """
        self._losses += 1
        if self._losses > self._policy.retries + 1:
            if error is not None:
                raise describe_loss(error) from error
            raise ConnectionFailed("the server ends the events before the job has ended")
        return compute_pause(self._losses)
