"""What every remote deployment does, and the HTTP that all of them are asked with."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from musicgen.errors import GenerationCancelled, RemoteError
from musicgen.remote.clips import RemoteClip, of_base64, of_data_uri
from musicgen.remote.errors import Refused
from musicgen.remote.usage import Job, Meter

if TYPE_CHECKING:
    import httpx

POLL_SECONDS = 1.0
REQUEST_SECONDS = 60.0
CANCEL_SECONDS, CANCEL_ATTEMPTS = 5.0, 3
LOOK_SECONDS = 0.1
ATTEMPTS = 4
CLIP_MAX_BYTES = 256 * 2**20
_STARTING = frozenset({502, 503})
_BUSY = frozenset({409, 429})
_BEFORE_ANY_WORK = _STARTING | _BUSY | {401, 402, 403, 404, 405, 413, 422}

Tell = Callable[[str], None]
"""Called with a line about how far the request is."""


class Unreachable(RemoteError):
    """Nobody answered."""


class Remote(Protocol):
    """A deployment that makes clips of the fields of a request."""

    def generate(self, fields: Mapping[str, Any], tell: Tell) -> list[RemoteClip]:
        """Asks and waits. Interrupting it asks the deployment to cancel where it can.

        Raises: `RemoteError`, `GenerationCancelled`.
        """


class Api:
    """JSON over HTTP with a token; patient with what is starting or busy until `timeout` seconds
    have passed since it was made. Setting `cancelled` ends every wait. `meter` counts what is used.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None,
        timeout: float,
        cancelled: threading.Event | None = None,
        meter: Meter | None = None,
    ) -> None:
        import httpx

        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(base_url=base_url, headers=headers, follow_redirects=True)
        self._end = time.monotonic() + timeout
        self._cancelled = cancelled or threading.Event()
        self.meter = meter or Meter()

    def get(self, path: str) -> Any:
        """Raises: `RemoteError`, `GenerationCancelled`."""
        return _json(self._send("GET", path))

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Any:
        """Raises: `RemoteError`, `GenerationCancelled`."""
        return _json(self._send("POST", path, json=body, headers=headers))

    def post_and_wait(self, path: str, body: Any) -> Any:
        """For work that is done before the answer. Being cancelled, or late, hangs up.

        Raises: `RemoteError`, `GenerationCancelled`.
        """
        return _json(self._send("POST", path, self._answered, json=body))

    @contextmanager
    def job(self, cancel_path: str) -> Iterator[Job]:
        """While a job runs there; leaving it early asks for the job to be cancelled."""
        job = Job()
        try:
            yield job
        except BaseException:
            if job.runs:
                self.meter.add(job.seconds)
            self._cancel(cancel_path)
            raise
        self.meter.add(job.seconds)
        self.meter.tell(job.told)

    def download(self, address: str) -> tuple[bytes, str]:
        """The file at a data: URI, or at a URL, which is asked without the token.

        Returns: its bytes and MIME type. Raises: `RemoteError`, `GenerationCancelled`.
        """
        if address.startswith("data:"):
            return of_data_uri(address)
        import httpx

        failures = 0
        while True:
            try:
                return self._downloaded(address)
            except httpx.HTTPError as error:
                failures += 1
                if failures >= ATTEMPTS:
                    raise Unreachable(f"the clip cannot be fetched: {_named(error)}") from error
            self.pause()

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self._end - time.monotonic()

    def check(self) -> None:
        """Raises: `GenerationCancelled`; `RemoteError` at the deadline."""
        if self._cancelled.is_set():
            raise GenerationCancelled("cancelled while another deployment was asked")
        if self.left <= 0:
            raise RemoteError(
                "no result in time: give it longer (--timeout, MUSICGEN_REMOTE_TIMEOUT_SECONDS)"
            )

    def pause(self) -> None:
        """Waits before the next look. Raises: what `check` raises."""
        self.check()
        self._cancelled.wait(min(POLL_SECONDS, max(self.left, 0.0)))
        self.check()

    def _send(
        self,
        method: str,
        path: str,
        exchange: Callable[..., httpx.Response] | None = None,
        **options: Any,
    ) -> httpx.Response:
        import httpx

        unsent = (httpx.ConnectError, httpx.ConnectTimeout)
        failures = 0
        while True:
            self.check()
            try:
                response = (exchange or self._exchanged)(method, path, **options)
            except httpx.TransportError as error:
                failures += 1
                # A request that was sent may have been taken: only asking again is harmless.
                taken = method == "POST" and not isinstance(error, unsent)
                if taken or failures >= ATTEMPTS:
                    self.meter.lost = self.meter.lost or taken
                    where = self._client.base_url
                    raise Unreachable(f"{where} cannot be reached: {_named(error)}") from error
            else:
                if response.status_code not in _STARTING | _BUSY or self.left <= 0:
                    return response
            self.pause()

    def _exchanged(self, method: str, path: str, **options: Any) -> httpx.Response:
        seconds = min(REQUEST_SECONDS, max(self.left, 1.0))
        return self._client.request(method, path, timeout=seconds, **options)

    def _answered(self, method: str, path: str, **options: Any) -> httpx.Response:
        """In an event loop of its own: there a request can be ended while it is waited for."""
        import httpx

        async def exchange() -> httpx.Response:
            client = httpx.AsyncClient(
                base_url=self._client.base_url,
                headers=self._client.headers,
                follow_redirects=True,
                timeout=httpx.Timeout(REQUEST_SECONDS, read=None),
            )
            async with client:
                asked = asyncio.ensure_future(client.request(method, path, **options))
                try:
                    while not (await asyncio.wait([asked], timeout=LOOK_SECONDS))[0]:
                        self.check()
                    return asked.result()
                finally:
                    asked.cancel()
                    await asyncio.wait([asked])

        started = time.monotonic()
        worked = True
        try:
            response = asyncio.run(exchange())
            worked = response.status_code not in _BEFORE_ANY_WORK
            return response
        except (httpx.ConnectError, httpx.ConnectTimeout):
            worked = False
            raise
        finally:
            if worked:
                self.meter.add(time.monotonic() - started)

    def _cancel(self, path: str) -> None:
        """Also after the deadline: a job costs money until it has ended."""
        import httpx

        for attempt in range(CANCEL_ATTEMPTS):
            if attempt:
                time.sleep(POLL_SECONDS)
            with suppress(httpx.HTTPError):
                response = self._client.post(path, timeout=CANCEL_SECONDS)
                if response.status_code not in _STARTING | _BUSY:
                    return
        self.meter.lost = True
        logging.getLogger(__name__).warning("a job elsewhere could not be cancelled: %s", path)

    def _downloaded(self, address: str) -> tuple[bytes, str]:
        import httpx

        data = bytearray()
        with httpx.stream(
            "GET", address, timeout=REQUEST_SECONDS, follow_redirects=True
        ) as response:
            if response.status_code != 200:
                raise RemoteError(f"the clip cannot be fetched: HTTP {response.status_code}")
            for chunk in response.iter_bytes():
                self.check()
                data += chunk
                if len(data) > CLIP_MAX_BYTES:
                    raise RemoteError(f"the clip has more than {CLIP_MAX_BYTES} bytes")
        return bytes(data), response.headers.get("content-type", "")


def clips_of_reply(api: Api, reply: Any) -> list[RemoteClip]:
    """The clips of the JSON form that RunPod and Hugging Face answer with."""
    if not isinstance(reply, Mapping) or not isinstance(reply.get("clips"), list):
        raise RemoteError(f"the answer holds no clips: {str(reply)[:200]}")
    clips = []
    for clip in reply["clips"]:
        if "audio" in clip:
            data, kind = of_base64(clip["audio"]), ""
        else:
            data, kind = api.download(clip["url"])
        clips.append(
            RemoteClip(
                data,
                clip.get("content_type", kind),
                clip.get("seed"),
                clip.get("seconds"),
                clip.get("prompt"),
                reply.get("model"),
                reply.get("licence"),
            )
        )
    return clips


def compute_of_reply(reply: Any) -> object:
    """The seconds of compute that a reply tells of, None where it tells none."""
    timings = reply.get("timings") if isinstance(reply, Mapping) else None
    return timings.get("total") if isinstance(timings, Mapping) else None


def _json(response: httpx.Response) -> Any:
    try:
        body = response.json()
    except ValueError:
        body = response.text[:200]
    if response.is_success:
        return body
    raise Refused.by_status(response.status_code, _reason(body))


def _reason(body: Any) -> str:
    """What the platforms put their reason under."""
    if isinstance(body, Mapping):
        for key in ("error", "detail", "title", "message"):
            if body.get(key):
                return str(body[key])
    return str(body)


def _named(error: Exception) -> str:
    """Some of httpx's errors have no text."""
    return str(error) or type(error).__name__
