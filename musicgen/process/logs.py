"""Logs of a process: lines of text, or JSON for a log collector."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

_TRACEPARENT = re.compile("[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
HTTP_LOGGERS = (
    *("httpx", "httpx2", "httpcore", "httpcore2", "huggingface_hub", "hf_xet", "hpack"),
    *("boto3", "botocore", "s3transfer", "urllib3", "requests", "aiohttp"),
)
"""Loggers of libraries that log URLs and headers. A signed URL or a session token is a secret."""
_OPEN_LOGGERS = frozenset({"musicgen", "handlers", "uvicorn", "__main__"})
_QUERY = re.compile(r"\?[\w%.~*\-\[\]]+=[^\s'\"<>()]*", re.ASCII)
_HEADER = re.compile(
    r"(\b(?:authorization|x-amz-security-token|x-api-key|cookie)\b\W{1,8}(?:b['\"])?|\bBearer +)"
    r"(?:(?:bearer|basic) +)?[^\s'\",;)]+",
    re.ASCII | re.IGNORECASE,
)
_job: ContextVar[str | None] = ContextVar("job", default=None)
_trace: ContextVar[str | None] = ContextVar("trace", default=None)
_request: ContextVar[str | None] = ContextVar("request", default=None)
_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}


def start_logging(
    level: str,
    stream: TextIO | None = None,
    form: str = logging.BASIC_FORMAT,
    *,
    as_json: bool = False,
) -> None:
    """Log from `level` to `stream`, by default standard error, unless logging is set up already."""
    logging.basicConfig(level=level, stream=stream, format=form)
    if as_json:
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonLines())
    for name in HTTP_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    if not isinstance(factory := logging.getLogRecordFactory(), _HidingFactory):
        logging.setLogRecordFactory(_HidingFactory(factory))


class _HidingFactory:
    """Factory of log records that hides secrets in the messages of other packages.

    Warnings of HTTP libraries contain signed URLs too, and huggingface_hub logs to a handler of its
    own. `factory`: the one to create the records.
    """

    def __init__(self, factory: Callable[..., logging.LogRecord]) -> None:
        self._factory = factory

    def __call__(self, *arguments: Any, **options: Any) -> logging.LogRecord:
        record = self._factory(*arguments, **options)
        if record.name.partition(".")[0] in _OPEN_LOGGERS:
            return record
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):
            return record  # logging itself reports a wrong format
        hidden = hide_secrets(message)
        if hidden != message:
            record.msg, record.args = hidden, ()
        return record


def hide_secrets(text: str) -> str:
    """Return a text without the queries of its URLs and without authorization headers."""
    return _HEADER.sub(r"\1…", _QUERY.sub("?…", text))


@contextmanager
def about(job_id: str, traceparent: str | None = None) -> Iterator[None]:
    """Add the job and its trace to every log line written inside, also by tasks started inside.

    `traceparent`: a caller's W3C header.
    """
    job, trace = _job.set(job_id), _trace.set(trace_id_of(traceparent))
    try:
        yield
    finally:
        _job.reset(job)
        _trace.reset(trace)


@contextmanager
def about_request(request_id: str) -> Iterator[None]:
    """Add the id of an HTTP request to every log line written inside."""
    request = _request.set(request_id)
    try:
        yield
    finally:
        _request.reset(request)


def get_request_id() -> str | None:
    """Return the id of the HTTP request that is being answered, or None."""
    return _request.get()


def trace_id_of(traceparent: str | None) -> str | None:
    """Return the trace id in a `traceparent` header, or None for an invalid header."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    return match[1] if match else None


class JsonLines(logging.Formatter):
    """Log formatter with one JSON object a line.

    Keys: time (UTC), level, logger, message; job_id, trace_id, request_id and error if known; those
    of `extra`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as one line of JSON."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{moment}.{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        context = {"job_id": _job.get(), "trace_id": _trace.get(), "request_id": _request.get()}
        line |= {name: value for name, value in context.items() if value is not None}
        line |= {name: value for name, value in record.__dict__.items() if name not in _OWN}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)
