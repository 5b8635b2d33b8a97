"""How a process of ours writes its log: lines for people, or JSON for what collects them."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

_TRACEPARENT = re.compile("[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_job: ContextVar[str | None] = ContextVar("job", default=None)
_trace: ContextVar[str | None] = ContextVar("trace", default=None)
_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}


def start_logging(
    level: str,
    stream: TextIO | None = None,
    form: str = logging.BASIC_FORMAT,
    *,
    as_json: bool = False,
) -> None:
    """Logs from `level` to `stream`, by default standard error, if nothing is set up yet."""
    logging.basicConfig(level=level, stream=stream, format=form)
    if as_json:
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonLines())
    # It writes every address that it asks, and a signed one is a secret.
    logging.getLogger("httpx").setLevel(max(logging.WARNING, logging.getLevelName(level)))


@contextmanager
def about(job_id: str, traceparent: str | None = None) -> Iterator[None]:
    """What is logged meanwhile, also by tasks begun meanwhile, names the job and the trace that a
    caller's W3C `traceparent` header names."""
    job, trace = _job.set(job_id), _trace.set(trace_id_of(traceparent))
    try:
        yield
    finally:
        _job.reset(job)
        _trace.reset(trace)


def trace_id_of(traceparent: str | None) -> str | None:
    """The trace that a `traceparent` header names; None where it is none."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    return match[1] if match else None


class JsonLines(logging.Formatter):
    """One object a line: time (UTC), level, logger, message; job_id, trace_id and error where
    there is one; what was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{moment}.{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        told = {"job_id": _job.get(), "trace_id": _trace.get()}
        line |= {name: value for name, value in told.items() if value is not None}
        line |= {name: value for name, value in record.__dict__.items() if name not in _OWN}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)
