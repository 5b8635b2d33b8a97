"""Errors of calls to the model server, beside those of a request."""

from __future__ import annotations

from handlers.call_errors import ApiError


class NotReady(ApiError):
    """The model is not loaded yet, or the server stops."""

    status, code, retry_after = 503, "not_ready", 10


class StoppedByServer(ApiError):
    """The server was told to stop, and the time for running calls is over."""

    status, code, retry_after = 503, "server_stopping", 1

    def __init__(self) -> None:
        super().__init__("The server stops and could not finish this call. Send it again.")


class CallTooLong(ApiError):
    """The call took longer than the limit."""

    status, code = 504, "call_too_long"

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The call took longer than {seconds:g} s, the limit. Ask for a shorter clip, or raise "
            "MUSICGEN_CALL_SECONDS where the platform waits longer."
        )


class WrongMediaType(ApiError):
    """The body is of a type that is not read."""

    status, code = 415, "wrong_media_type"


class NotAcceptable(ApiError):
    """The caller accepts no type of answer that the server has."""

    status, code = 406, "not_acceptable"
