"""One clip to one bucket by boto3: the client, its retries, and what its errors mean."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, BinaryIO
from urllib.parse import urlsplit, urlunsplit

from musicgen.errors import BucketRefused, MissingDependency, StorageError, UploadFailed
from musicgen.settings import BucketSettings
from musicgen.storage.spool import Upload

MULTIPART_BYTES = 16 * 2**20
PART_BYTES = 8 * 2**20
CONNECT_SECONDS = 5.0
READ_SECONDS = 20.0
LONGEST_PAUSE_SECONDS = 10.0
_TRANSIENT_CODES = frozenset({
    "BadDigest", "IncompleteBody", "InternalError", "NoSuchUpload", "OperationAborted",
    "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling", "ThrottlingException",
})  # fmt: skip
_ADVICE = {
    "AccessDenied": "these credentials may not write there (s3:PutObject is needed)",
    "InvalidAccessKeyId": "the access key id is unknown there",
    "SignatureDoesNotMatch": "the secret does not belong to the access key id",
    "ExpiredToken": "the credentials have expired",
    "NoSuchBucket": "there is no such bucket: create it first",
}


def open_client(bucket: BucketSettings, attempts: int = 1) -> Any:
    """A boto3 client for the bucket's endpoint; it may be used from several threads.

    Raises: `MissingDependency`; `BucketRefused` for an endpoint that is not a URL or a
    profile that does not exist.
    """
    try:
        import boto3
        import botocore.config
        import botocore.exceptions
    except ImportError:
        raise MissingDependency("boto3", "a bucket", "s3") from None
    endpoint = endpoint_without_bucket(bucket.endpoint_url, bucket.name or "")
    config = botocore.config.Config(
        signature_version="s3v4",
        s3={"addressing_style": _addressing(bucket.addressing, endpoint)},
        # Only the deadline of the whole upload decides how often it is tried: see `send`.
        retries={"total_max_attempts": attempts, "mode": "standard"},
        connect_timeout=min(CONNECT_SECONDS, bucket.deadline),
        read_timeout=min(READ_SECONDS, bucket.deadline),
        # Checksums that boto3 adds by default are unknown to many servers that speak S3.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        session = boto3.session.Session(
            aws_access_key_id=bucket.access_key_id,
            aws_secret_access_key=bucket.secret_access_key,
            region_name=bucket.region,
        )
        return session.client(
            "s3",
            endpoint_url=endpoint,
            config=config,
            region_name=session.region_name or "us-east-1",
        )
    except ValueError:
        raise BucketRefused(f"the bucket's endpoint {endpoint!r} is not a URL") from None
    except botocore.exceptions.ProfileNotFound as error:
        raise BucketRefused(f"{error}: correct AWS_PROFILE or its configuration file") from None


def endpoint_without_bucket(endpoint: str | None, bucket: str) -> str | None:
    """Some platforms name the bucket in the endpoint too, as its first label or its last path
    segment; requests would then name it twice."""
    if endpoint is None:
        return None
    parts = urlsplit(endpoint.rstrip("/"))
    host, path = parts.netloc, parts.path
    if bucket and host.startswith(f"{bucket}."):
        host = host[len(bucket) + 1 :]
    if bucket and path.endswith(f"/{bucket}"):
        path = path[: -len(bucket) - 1]
    return urlunsplit((parts.scheme, host, path, "", ""))


def has_credentials(client: Any) -> bool:
    return client._request_signer._credentials is not None


def send(client: Any, upload: Upload, file: Callable[[], BinaryIO], deadline: float) -> None:
    """Uploads what `file` opens, again after a transient error until `deadline` (monotonic).

    Multipart above 16 MiB; a failed one leaves no parts behind if the server can be reached.
    Raises: `BucketRefused` at the first error that another attempt would repeat; `UploadFailed`.
    """
    import tenacity

    attempts = tenacity.Retrying(
        stop=tenacity.stop_before_delay(max(0.0, deadline - time.monotonic())),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=LONGEST_PAUSE_SECONDS),
        retry=tenacity.retry_if_exception(is_transient),
        reraise=True,
    )
    try:
        for attempt in attempts:
            with attempt, file() as opened:
                upload_once(client, upload, opened)
    except Exception as error:
        raise explained_failure(error, upload) from error


def upload_once(client: Any, upload: Upload, file: Any) -> None:
    """One attempt, of a file that may be still growing if it cannot seek."""
    from boto3.s3.transfer import TransferConfig

    transfer = TransferConfig(multipart_threshold=MULTIPART_BYTES, multipart_chunksize=PART_BYTES)
    client.upload_fileobj(
        file, upload.bucket, upload.key, ExtraArgs=_extra_arguments(upload), Config=transfer
    )


def is_transient(error: BaseException) -> bool:
    """Whether the same upload may succeed a moment later."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or status in (408, 429) or _code(error) in _TRANSIENT_CODES
    return isinstance(error, (exceptions.HTTPClientError, exceptions.ConnectionError))


def explained_failure(error: Exception, upload: Upload) -> StorageError:
    """What the operator can do; the server's own text stays in the log, it may hold anything."""
    from botocore import exceptions

    where = f"bucket {upload.bucket!r} at {upload.endpoint_url or 'AWS'}"
    if is_transient(error):
        return UploadFailed(f"{where} could not be reached or was not ready ({_code(error)})")
    if isinstance(error, exceptions.NoCredentialsError):
        return BucketRefused(
            f"no credentials for {where}: set MUSICGEN_BUCKET_ACCESS_KEY_ID and "
            "MUSICGEN_BUCKET_SECRET_ACCESS_KEY, or those of AWS's standard chain"
        )
    code = _code(error)
    advice = _ADVICE.get(code, "check its name, its region and its settings")
    return BucketRefused(f"{where} refused the clip ({code}): {advice}")


def _code(error: BaseException) -> str:
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", "unknown"))
    return type(error).__name__


def _addressing(style: str, endpoint: str | None) -> str:
    """Servers of one's own are seldom reachable under a name for each bucket."""
    ours = endpoint is not None and not (urlsplit(endpoint).hostname or "").endswith(
        ".amazonaws.com"
    )
    return "path" if style == "auto" and ours else style


def _extra_arguments(upload: Upload) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "ContentType": upload.content_type,
        "ContentDisposition": upload.disposition,
        "Metadata": upload.metadata,
    }
    if upload.encryption != "none":
        arguments["ServerSideEncryption"] = upload.encryption
    optional = {
        "SSEKMSKeyId": upload.kms_key,
        "StorageClass": upload.storage_class,
        "Tagging": upload.tags,
    }
    return arguments | {name: value for name, value in optional.items() if value}
