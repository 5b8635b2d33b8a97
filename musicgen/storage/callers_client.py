"""boto3 client for a caller's bucket, with nothing of the operator's in it.

It has the caller's key and address only. Variables of AWS, profiles, instance roles, proxies and
configured endpoints do not reach it. It follows no redirect, and reads answers of limited size.
"""

from __future__ import annotations

import os
import socket
from typing import Any

import botocore.session
from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
    AWSPreparedRequest,
    AWSResponse,
)
from botocore.configprovider import ConstantProvider
from botocore.exceptions import HTTPClientError
from botocore.httpsession import URLLib3Session
from urllib3.exceptions import NewConnectionError

from musicgen.net.pinned import AddressRefused, PinnedConnections
from musicgen.settings import BucketSettings
from musicgen.storage.s3_client import (
    build_config,
    limit_connect_seconds,
    limit_read_seconds,
    strip_bucket,
)

ANSWER_MAX_BYTES = 2**20
"""Answers to an upload are short."""
DEFAULT_REGION = "us-east-1"
_USER_AGENT = "musicgen-serverless"


class AnswerRefused(Exception):
    """The server redirects, or answers at too great a length."""


def open_callers_client(bucket: BucketSettings, connections: PinnedConnections) -> Any:
    """Open a client with the key and the endpoint of `bucket` alone.

    Raises: `ValueError` for a malformed endpoint.
    """
    import boto3

    session = boto3.session.Session(
        aws_access_key_id=bucket.access_key_id,
        aws_secret_access_key=bucket.secret_access_key,
        region_name=bucket.region or DEFAULT_REGION,
        botocore_session=_build_session(),
    )
    client = session.client(
        "s3",
        endpoint_url=strip_bucket(bucket.endpoint_url, bucket.name or ""),
        config=build_config(
            bucket, proxies={}, user_agent=_USER_AGENT, ignore_configured_endpoint_urls=True
        ),
        verify=True,
    )
    # botocore offers no way to pass a session of one's own.
    client._endpoint.http_session.close()
    client._endpoint.http_session = _CallersSession(bucket, connections)
    return client


def _build_session() -> botocore.session.Session:
    """Return a session that reads neither the environment nor a configuration file."""
    session = botocore.session.Session()
    settings = session.get_component("config_store")
    for name, (_, _, default, _) in session.SESSION_VARIABLES.items():
        settings.set_config_provider(name, ConstantProvider(default))
    for name in ("config_file", "credentials_file"):
        settings.set_config_provider(name, ConstantProvider(os.devnull))
    for name in ("s3", "proxies_config"):
        settings.set_config_provider(name, ConstantProvider({}))
    return session


class _CallersSession(URLLib3Session):  # type: ignore[misc]
    """HTTP session of botocore over pinned connections."""

    def __init__(self, bucket: BucketSettings, connections: PinnedConnections) -> None:
        timeout = (limit_connect_seconds(bucket), limit_read_seconds(bucket))
        super().__init__(verify=True, proxies={}, timeout=timeout)
        self._manager.pool_classes_by_scheme = _build_pools(connections)
        # AWS redirects to the bucket's region; botocore then builds the new address itself.
        self._may_redirect = bucket.endpoint_url is None

    def send(self, request: AWSPreparedRequest) -> AWSResponse:
        """Send a request. Raises: `AddressRefused`, `AnswerRefused`, errors of botocore."""
        # Lambda's trace of the operator; botocore takes it from the environment.
        request.headers.pop("X-Amzn-Trace-Id", None)
        # Otherwise botocore reads a body of any length into memory.
        request.stream_output = True
        try:
            response = super().send(request)
        except HTTPClientError as error:
            if isinstance(cause := error.kwargs.get("error"), AddressRefused):
                raise cause from None
            raise
        if 300 <= response.status_code < 400 and not self._may_redirect:
            response.raw.close()
            raise AnswerRefused("a redirect")
        return AWSResponse(
            response.url, response.status_code, response.headers, _Body(_read(response.raw))
        )


class _Body:
    """Body of an answer, read already."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, *_: Any, **__: Any) -> list[bytes]:
        """Return the blocks of the body, as urllib3 does."""
        return [self._content]


def _read(raw: Any) -> bytes:
    try:
        content = bytes(raw.read(ANSWER_MAX_BYTES + 1))
    except Exception as error:
        raise HTTPClientError(error=error) from None
    if len(content) > ANSWER_MAX_BYTES:
        raw.close()
        raise AnswerRefused("a long answer")
    raw.release_conn()
    return content


def _build_pools(connections: PinnedConnections) -> dict[str, type]:
    """Return connection pools of urllib3 that connect through `connections`."""

    def connect(connection: Any, *, is_encrypted: bool) -> socket.socket:
        try:
            return connections.connect(
                connection.host, connection.port, connection.timeout, is_encrypted=is_encrypted
            )
        except OSError as error:
            raise NewConnectionError(connection, type(error).__name__) from None

    class Connection(AWSHTTPConnection):  # type: ignore[misc]
        def _new_conn(self) -> socket.socket:
            return connect(self, is_encrypted=False)

    class EncryptedConnection(AWSHTTPSConnection):  # type: ignore[misc]
        def _new_conn(self) -> socket.socket:
            return connect(self, is_encrypted=True)

    class Pool(AWSHTTPConnectionPool):  # type: ignore[misc]
        ConnectionCls = Connection

        def urlopen(self, *args: Any, **options: Any) -> Any:
            # urllib3 would look at a redirect itself.
            return super().urlopen(*args, **options, redirect=False)

    class EncryptedPool(AWSHTTPSConnectionPool):  # type: ignore[misc]
        ConnectionCls = EncryptedConnection

        def urlopen(self, *args: Any, **options: Any) -> Any:
            return super().urlopen(*args, **options, redirect=False)

    return {"http": Pool, "https": EncryptedPool}
