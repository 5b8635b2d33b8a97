"""Upload of one clip with boto3: the client, its retries and its errors."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, BinaryIO
from urllib.parse import urlsplit, urlunsplit

from musicgen.errors import BucketRefused, MissingDependency, StorageError, UploadFailed
from musicgen.settings import BucketSettings
from musicgen.storage.spool import UploadTarget

MULTIPART_BYTES = 16 * 2**20
PART_BYTES = 8 * 2**20
CONNECT_SECONDS = 5.0
READ_SECONDS = 20.0
LONGEST_PAUSE_SECONDS = 10.0
_TRANSIENT_CODES = frozenset({
    "BadDigest", "IncompleteBody", "InternalError", "NoSuchUpload", "OperationAborted",
    "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling", "ThrottlingException",
})  # fmt: skip
_REDIRECT = "Redirect"
_CODE = re.compile(r"[A-Za-z0-9.]{1,64}")
_ADVICE = {
    "AccessDenied": "the credentials need the permission s3:PutObject",
    "InvalidAccessKeyId": "the access key id is unknown",
    "SignatureDoesNotMatch": "the secret does not belong to the access key id",
    "ExpiredToken": "the credentials have expired",
    "RequestTimeTooSkewed": "set the clock of this machine",
    "AuthorizationHeaderMalformed": "set MUSICGEN_BUCKET_REGION to the region of the bucket",
    "PermanentRedirect": "set MUSICGEN_BUCKET_REGION to the region of the bucket",
    "NoSuchBucket": "the bucket does not exist; create it first",
    _REDIRECT: "set MUSICGEN_BUCKET_ENDPOINT_URL to the address it redirects to, often https",
}


def open_client(
    bucket: BucketSettings, attempts: int = 1, connections: int = 10, *, is_public: bool = False
) -> Any:
    """Open a boto3 client for the bucket's endpoint, for any number of threads.

    `attempts`: number of times boto3 sends a request. An upload repeats itself: see `send`.
    `connections`: number of connections kept for the next request. `is_public`: use the public
    endpoint, as it is written.
    Raises: `MissingDependency`; `BucketRefused` for a malformed endpoint or a missing profile.
    """
    try:
        import boto3
        import botocore.exceptions
    except ImportError:
        raise MissingDependency("boto3", "a bucket", "s3") from None
    endpoint = strip_bucket(bucket.endpoint_url, bucket.name or "")
    if is_public:
        endpoint = bucket.public_endpoint_url
    config = build_config(
        replace(bucket, endpoint_url=endpoint), attempts, max_pool_connections=connections
    )
    try:
        session = boto3.session.Session(
            aws_access_key_id=bucket.access_key_id,
            aws_secret_access_key=bucket.secret_access_key,
            region_name=bucket.region,
        )
        client = session.client(
            "s3",
            endpoint_url=endpoint,
            config=config,
            region_name=session.region_name or "us-east-1",
        )
    except ValueError:
        raise BucketRefused(f"the bucket's endpoint {endpoint!r} is not a URL.") from None
    except botocore.exceptions.ProfileNotFound as error:
        raise BucketRefused(f"{error}. Correct AWS_PROFILE or its configuration file.") from None
    if _is_own_service(endpoint):
        client.meta.events.register_first("needs-retry.s3", _refuse_redirect)
    return client


def _refuse_redirect(response: tuple[Any, Any] | None, operation: Any, **_: Any) -> None:
    """Raise `ClientError` for a redirect, such as one to https by a proxy.

    boto3 1.44 takes each redirect for a bucket in another region and asks for the region. This
    question is redirected too, so it repeats itself 81 times, until the limit of recursion.
    """
    from botocore.exceptions import ClientError

    if response is not None and response[0].status_code in (301, 302, 307):
        status = {"HTTPStatusCode": response[0].status_code}
        error = {"Error": {"Code": _REDIRECT}, "ResponseMetadata": status}
        raise ClientError(error, operation.name)


def build_config(bucket: BucketSettings, attempts: int = 1, **more: Any) -> Any:
    """Return boto3's configuration of a client for `bucket`; `more`: its other options."""
    import botocore.config

    endpoint = strip_bucket(bucket.endpoint_url, bucket.name or "")
    return botocore.config.Config(
        signature_version="s3v4",
        s3={"addressing_style": _resolve_addressing(bucket.addressing, endpoint)},
        # One attempt for an upload: its deadline limits the repetitions, see `send`.
        retries={"total_max_attempts": attempts, "mode": "standard"},
        connect_timeout=limit_connect_seconds(bucket),
        read_timeout=limit_read_seconds(bucket),
        # Many S3-compatible servers do not know the checksums boto3 adds by default.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        **more,
    )


def limit_connect_seconds(bucket: BucketSettings) -> float:
    """Return the timeout of a connection attempt in seconds."""
    return min(CONNECT_SECONDS, bucket.deadline)


def limit_read_seconds(bucket: BucketSettings) -> float:
    """Return the timeout of one read in seconds."""
    return min(READ_SECONDS, bucket.deadline)


def strip_bucket(endpoint: str | None, bucket: str) -> str | None:
    """Return an endpoint without the bucket's name, or None.

    Some platforms put the name into the endpoint too, as first label or last path segment;
    requests would then contain it twice.
    """
    if endpoint is None:
        return None
    parts = urlsplit(endpoint.rstrip("/"))
    host, path = parts.netloc, parts.path
    if bucket and host.startswith(f"{bucket}."):
        host = host[len(bucket) + 1 :]
    if bucket and path.endswith(f"/{bucket}"):
        path = path[: -len(bucket) - 1]
    return urlunsplit((parts.scheme, host, path, "", ""))


def is_addressed_to(target: UploadTarget, bucket: BucketSettings) -> bool:
    """Whether a clip's destination is `bucket`: the same name at the same service."""
    name = bucket.name or ""
    endpoints = (strip_bucket(each.endpoint_url, name) for each in (target, bucket))
    return target.bucket == bucket.name and len(set(endpoints)) == 1


def check_credentials(client: Any, name: str) -> None:
    """Check that a client has found credentials, for the bucket `name`. Raises: `BucketRefused`."""
    if client._request_signer._credentials is None:
        raise _build_keyless(f"bucket {name!r}")


def send(
    client: Any,
    target: UploadTarget,
    file: Callable[[], BinaryIO | io.RawIOBase],
    deadline: float,
    cancelled: threading.Event | None = None,
) -> None:
    """Upload the file opened by `file`; repeat after transient errors until `deadline`.

    `deadline`: a time of `time.monotonic`. Nothing is repeated once `cancelled` is set. Uploads
    above 16 MiB have several parts; a failed one leaves no parts behind if the server can be
    reached. Raises: `BucketRefused` for a permanent error; `UploadFailed`.
    """
    import tenacity

    ended = cancelled or threading.Event()
    late = tenacity.stop_before_delay(max(0.0, deadline - time.monotonic()))
    attempts = tenacity.Retrying(
        stop=late | tenacity.stop_when_event_set(ended),
        sleep=tenacity.sleep_using_event(ended),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=LONGEST_PAUSE_SECONDS),
        retry=tenacity.retry_if_exception(is_transient),
        reraise=True,
    )
    try:
        for attempt in attempts:
            with attempt, file() as opened:
                upload_once(client, target, opened)
    except Exception as error:
        raise translate_client_error(error, target) from error


def upload_once(client: Any, target: UploadTarget, file: Any) -> None:
    """Make one attempt; a file without `seek` may still be growing."""
    from boto3.s3.transfer import TransferConfig

    transfer = TransferConfig(
        multipart_threshold=MULTIPART_BYTES,
        multipart_chunksize=PART_BYTES,
        # The interpreter waits at its end for boto3's threads, and so for a server that is silent.
        use_threads=_has_parts(file),
        # The other one connects by itself, past the client's own session.
        preferred_transfer_client="classic",
    )
    client.upload_fileobj(
        file, target.bucket, target.key, ExtraArgs=_build_arguments(target), Config=transfer
    )


def _has_parts(file: Any) -> bool:
    """Return whether a file is, or may become, large enough for an upload in parts."""
    if not file.seekable():
        return True
    size: int = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size >= MULTIPART_BYTES


def is_transient(error: BaseException) -> bool:
    """Whether the same upload may succeed a moment later."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or status in (408, 429) or read_code(error) in _TRANSIENT_CODES
    return isinstance(error, (exceptions.HTTPClientError, exceptions.ConnectionError))


def translate_client_error(error: Exception, target: UploadTarget) -> StorageError:
    """Return the error for the operator, with advice; the server's own text stays in the log."""
    from botocore import exceptions

    where = f"bucket {target.bucket!r} at {target.endpoint_url or 'AWS'}"
    if is_transient(error):
        code = read_code(error)
        return UploadFailed(f"{where} could not be reached or was not ready ({code}).")
    if isinstance(error, exceptions.NoCredentialsError):
        return _build_keyless(where)
    code = read_code(error)
    advice = _ADVICE.get(code, "check its name, its region and its settings")
    return BucketRefused(f"{where} refused the clip ({code}): {advice}.")


def _build_keyless(where: str) -> BucketRefused:
    return BucketRefused(
        f"no credentials for {where}. Set MUSICGEN_BUCKET_ACCESS_KEY_ID and "
        "MUSICGEN_BUCKET_SECRET_ACCESS_KEY, or use AWS's standard chain."
    )


def read_code(error: BaseException) -> str:
    """Return the server's code of an error, or the type of another error."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        code = str(response.get("Error", {}).get("Code", ""))
        # The server chooses this text, and it is logged.
        return code if _CODE.fullmatch(code) else "unknown"
    return type(error).__name__


def _resolve_addressing(style: str, endpoint: str | None) -> str:
    """Return the addressing style. Outside AWS, "auto" is "path": few have a host per bucket."""
    return "path" if style == "auto" and _is_own_service(endpoint) else style


def _is_own_service(endpoint: str | None) -> bool:
    """Whether an endpoint is not one of AWS."""
    host = None if endpoint is None else urlsplit(endpoint).hostname
    return endpoint is not None and not (host or "").endswith(".amazonaws.com")


def _build_arguments(target: UploadTarget) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "ContentType": target.content_type,
        "ContentDisposition": target.disposition,
        "Metadata": target.metadata,
    }
    if target.encryption != "none":
        arguments["ServerSideEncryption"] = target.encryption
    optional = {
        "SSEKMSKeyId": target.kms_key,
        "StorageClass": target.storage_class,
        "Tagging": target.tags,
    }
    return arguments | {name: value for name, value in optional.items() if value}
