"""What every remote deployment does, and the HTTP that all of them are asked with."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from musicgen.errors import RemoteError

if TYPE_CHECKING:
    import httpx

POLL_SECONDS = 1.0
REQUEST_SECONDS = 60.0
ATTEMPTS = 4
_EXTENSIONS = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/flac": "flac",
    "audio/x-flac": "flac",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
}
_STARTING = frozenset({502, 503})
_BUSY = frozenset({409, 429})

Tell = Callable[[str], None]
"""Called with a line about how far the request is."""


@dataclass(frozen=True)
class RemoteClip:
    """One clip as it came: the bytes of the file, its MIME type and, where told, its seed."""

    data: bytes
    content_type: str
    seed: int | None = None

    @property
    def extension(self) -> str:
        """Without a dot; wav for a type that is not known."""
        return _EXTENSIONS.get(self.content_type.partition(";")[0].strip(), "wav")


class Remote(Protocol):
    """A deployment that makes clips of the fields of a request."""

    def generate(self, fields: Mapping[str, Any], tell: Tell) -> list[RemoteClip]:
        """Asks and waits. Interrupting it asks the deployment to cancel where it can.

        Raises: `RemoteError`.
        """


class Api:
    """JSON over HTTP with a token; patient with what is starting or busy until `deadline`."""

    def __init__(self, base_url: str, token: str | None, timeout: float) -> None:
        import httpx

        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(
            base_url=base_url, headers=headers, timeout=REQUEST_SECONDS, follow_redirects=True
        )
        self._end = time.monotonic() + timeout

    def get(self, path: str) -> Any:
        """Raises: `RemoteError`."""
        return self._json(self._send("GET", path))

    def post(self, path: str, body: Any = None, *, wait: bool = False) -> Any:
        """With `wait` the answer may take until the deadline. Raises: `RemoteError`."""
        timeout = max(self.left, 1.0) if wait else REQUEST_SECONDS
        return self._json(self._send("POST", path, json=body, timeout=timeout))

    def download(self, address: str) -> tuple[bytes, str]:
        """The file at a data: URI, or at a URL, which is asked without the token.

        Returns: its bytes and MIME type. Raises: `RemoteError`.
        """
        if address.startswith("data:"):
            return _of_data_uri(address)
        import httpx

        try:
            response = httpx.get(address, timeout=REQUEST_SECONDS, follow_redirects=True)
        except httpx.HTTPError as error:
            raise RemoteError(f"the clip cannot be fetched: {error}") from error
        if response.status_code != 200:
            raise RemoteError(f"the clip cannot be fetched: HTTP {response.status_code}")
        return response.content, response.headers.get("content-type", "")

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self._end - time.monotonic()

    def pause(self) -> None:
        """Waits before the next look. Raises: `RemoteError` at the deadline."""
        if self.left <= 0:
            raise RemoteError("no result in time: give it longer with --timeout")
        time.sleep(POLL_SECONDS)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        import httpx

        failures = 0
        while True:
            try:
                response = self._client.request(method, path, **options)
            except httpx.TransportError as error:
                failures += 1
                # A request that was sent may have been taken: only asking again is harmless.
                sent = method == "POST" and not isinstance(error, httpx.ConnectError)
                if sent or failures >= ATTEMPTS:
                    where = self._client.base_url
                    raise RemoteError(f"{where} cannot be reached: {error}") from error
            else:
                if response.status_code not in _STARTING | _BUSY:
                    return response
                if self.left <= 0:
                    return response
            self.pause()

    def _json(self, response: httpx.Response) -> Any:
        try:
            body = response.json()
        except ValueError:
            body = response.text[:200]
        if response.is_success:
            return body
        raise RemoteError(f"HTTP {response.status_code}: {_reason(body)}")


def clips_of_reply(api: Api, reply: Any) -> list[RemoteClip]:
    """The clips of the JSON form that RunPod and Hugging Face answer with."""
    if not isinstance(reply, Mapping) or not isinstance(reply.get("clips"), list):
        raise RemoteError(f"the answer holds no clips: {str(reply)[:200]}")
    clips = []
    for clip in reply["clips"]:
        if "audio" in clip:
            data, kind = _decoded(clip["audio"]), clip.get("content_type", "")
        else:
            data, kind = api.download(clip["url"])
        clips.append(RemoteClip(data, clip.get("content_type", kind), clip.get("seed")))
    return clips


def _of_data_uri(uri: str) -> tuple[bytes, str]:
    head, _, data = uri.removeprefix("data:").partition(",")
    if not head.endswith(";base64"):
        raise RemoteError("the answer holds a data: URI that is not base64")
    return _decoded(data), head.removesuffix(";base64")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RemoteError("the answer holds audio that is not base64") from error


def _reason(body: Any) -> str:
    """What the platforms put their reason under."""
    if isinstance(body, Mapping):
        for key in ("error", "detail", "title", "message"):
            if body.get(key):
                return str(body[key])
    return str(body)
