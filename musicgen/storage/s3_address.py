"""Addresses of objects for callers, and the keys behind such addresses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from musicgen.errors import StorageError
from musicgen.settings import BucketSettings
from musicgen.storage.s3_client import open_client, translate_client_error
from musicgen.storage.spool import UploadTarget


class ObjectAddresses:
    """Presigned or public URLs of one bucket.

    A signature covers the host, so URLs are signed for the public endpoint if there is one.
    `client`: that of the internal endpoint.
    """

    def __init__(self, bucket: BucketSettings, client: Any) -> None:
        self._bucket = bucket
        self._client = client
        self._signer = client
        if bucket.public_endpoint_url is not None:
            self._signer = open_client(bucket, is_public=True)

    @property
    def origin(self) -> str:
        """Scheme, host and port of every address, as in a content security policy."""
        parts = urlsplit(self.build("x"))
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def can_name_downloads(self) -> bool:
        """Whether `build` can give a download a file name: only a presigned URL can."""
        return not self._bucket.public_url

    def build(self, key: str, disposition: str | None = None) -> str:
        """Return an address of an object. `disposition`: for a presigned URL, its header."""
        if self._bucket.public_url:
            return f"{self._bucket.public_url.rstrip('/')}/{quote(key)}"
        return self._sign(self._signer, key, disposition)

    def read_key(self, address: str) -> str:
        """Return the key of an address, also of one for the internal endpoint.

        Raises: `StorageError` for an address outside this bucket.
        """
        for root in self._list_roots():
            if address.startswith(root):
                return unquote(address.removeprefix(root).partition("?")[0])
        raise StorageError("the address is not that of a clip in this bucket.")

    def _list_roots(self) -> Iterator[str]:
        """Yield the beginnings of addresses; the clients place the bucket in path or host."""
        yield self.build("x").partition("?")[0].removesuffix("x")
        for client in (self._signer, self._client):
            yield self._sign(client, "x").partition("?")[0].removesuffix("x")

    def _sign(self, client: Any, key: str, disposition: str | None = None) -> str:
        parameters = {"Bucket": self._bucket.name, "Key": key}
        if disposition is not None:
            parameters["ResponseContentDisposition"] = disposition
        try:
            url: str = client.generate_presigned_url(
                "get_object", Params=parameters, ExpiresIn=self._bucket.url_seconds
            )
        except Exception as error:
            target = UploadTarget(self._bucket.name or "", key, "", "")
            raise translate_client_error(error, target) from error
        return url
