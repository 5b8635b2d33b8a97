"""Limits and errors of requests to a caller's URL; no error reveals the resolved address."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from musicgen.errors import InputAudioRefused, InputAudioTooLarge, InputAudioUnreachable
from musicgen.errors.request_reasons import RequestReason
from musicgen.http_errors import list_http_errors

FIELD = "input_audio"
_SHOWN_CHARACTERS = 120


@dataclass(frozen=True)
class DownloadLimits:
    """Limits of one download.

    `bytes`: of the body, both received and decompressed. `seconds`: for the whole download.
    """

    bytes: int = 100_000_000
    seconds: float = 60.0
    connect_seconds: float = 10.0
    redirects: int = 5


@contextmanager
def translate_errors(url: str, limits: DownloadLimits) -> Iterator[None]:
    """Turn errors of the libraries into ours; none reveals the resolved address."""
    import httpx
    from httpx_secure import SSRFProtectionError

    try:
        yield
    except SSRFProtectionError:
        raise build_refusal(url, RequestReason("address_not_public")) from None
    except (httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeError):
        raise build_refusal(url, RequestReason("address_invalid")) from None
    except (TimeoutError, httpx.TimeoutException):
        raise build_timeout(url, limits) from None
    except httpx.ConnectError:
        raise build_unreachable(url, "no connection: check the name, the port and TLS") from None
    except zlib.error:
        raise build_unreachable(url, "the compressed file is damaged") from None
    except list_http_errors():
        raise build_unreachable(url, "the connection ended early") from None


def _redact(url: str) -> str:
    """Shorten a caller's URL and remove its password, because errors are logged."""
    return re.sub(r"//[^/]*@", "//…@", url[:_SHOWN_CHARACTERS])


def build_refusal(url: str, problem: str) -> InputAudioRefused:
    """Return the error of a forbidden address or scheme."""
    return InputAudioRefused(FIELD, problem, value=_redact(url))


def build_unreachable(url: str, reason: str) -> InputAudioUnreachable:
    """Return the error of a failure of a server or network."""
    return InputAudioUnreachable(FIELD, f"is unreachable: {reason}", value=_redact(url))


def build_timeout(url: str, limits: DownloadLimits) -> InputAudioUnreachable:
    """Return the error of a download that took too long."""
    return build_unreachable(url, f"not complete within {limits.seconds:g} s")


def build_too_large(url: str, limits: DownloadLimits) -> InputAudioTooLarge:
    """Return the error of a body over the limit."""
    problem = f"is larger than the limit of {limits.bytes / 1e6:g} MB"
    return InputAudioTooLarge(FIELD, problem, value=_redact(url))
