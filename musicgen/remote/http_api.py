"""Contract of every remote deployment, and the HTTP client they share."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from musicgen.errors import GenerationCancelled, RemoteError, show_value
from musicgen.http_errors import list_http_errors
from musicgen.remote.clips import RemoteClip, decode_base64, decode_data_uri
from musicgen.remote.errors import RemoteRefusal
from musicgen.remote.usage import JobTimer, Meter

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

OnProgress = Callable[[str], None]
"""Called with a line about the progress of the request."""


class Unreachable(RemoteError):
    """The deployment did not answer."""


class RemoteDeployment(Protocol):
    """Deployment turning the fields of a request into clips."""

    def generate(self, fields: Mapping[str, Any], on_progress: OnProgress) -> list[RemoteClip]:
        """Send a request and wait for its clips; an interruption cancels the remote job.

        Raises: `RemoteError`, `GenerationCancelled`.
        """


class HttpApi:
    """Client for JSON over HTTP with a token.

    It repeats calls to a starting or busy deployment until `timeout` seconds after its creation.
    Setting `cancelled` ends every wait. `meter`: counts the compute.
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
        try:
            self._client = httpx.Client(base_url=base_url, headers=headers, follow_redirects=True)
        except list_http_errors() as error:
            raise RemoteError(f"{show_value(base_url)} is not a URL: {error}.") from error
        self._end = time.monotonic() + timeout
        self._cancelled = cancelled or threading.Event()
        self._failure: str | None = None
        self.meter = meter or Meter()

    def get(self, path: str) -> Any:
        """Return the JSON of a GET. Raises: `RemoteError`, `GenerationCancelled`."""
        return _read_json(self._send("GET", path))

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Any:
        """Return the JSON of a POST. Raises: `RemoteError`, `GenerationCancelled`."""
        return _read_json(self._send("POST", path, json=body, headers=headers))

    def post_and_wait(self, path: str, body: Any) -> Any:
        """Return the JSON of a POST answered after the work; a cancellation hangs up.

        Raises: `RemoteError`, `GenerationCancelled`.
        """
        return _read_json(self._send("POST", path, self._exchange_cancellably, json=body))

    @contextmanager
    def track_job(self, cancel_path: str) -> Iterator[JobTimer]:
        """Measure a remote job; an error inside cancels the job."""
        job = JobTimer()
        try:
            yield job
        except BaseException:
            if job.is_running:
                self.meter.add(job.seconds)
            self._cancel(cancel_path)
            raise
        self.meter.add(job.seconds)
        self.meter.correct(job.reported_seconds)

    def download(self, address: str) -> tuple[bytes, str]:
        """Return bytes and MIME type of the file at a data: URI or a URL.

        The token is not sent to the URL. Raises: `RemoteError`, `GenerationCancelled`.
        """
        if address.startswith("data:"):
            return decode_data_uri(address)
        import httpx

        failures = 0
        while True:
            try:
                return self._fetch(address)
            except list_http_errors() as error:
                failures += 1
                is_final = not isinstance(error, httpx.TransportError)
                if is_final or failures >= ATTEMPTS:
                    raise Unreachable(f"cannot download the clip: {_describe(error)}.") from error
            self.pause()

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline."""
        return self._end - time.monotonic()

    def check(self) -> None:
        """Raise `GenerationCancelled` if cancelled, `RemoteError` after the deadline."""
        if self._cancelled.is_set():
            raise GenerationCancelled("cancelled while waiting for the remote deployment")
        if self.seconds_left <= 0:
            reason = f" ({self._failure})" if self._failure else ""
            advice = "Allow more: --timeout or MUSICGEN_REMOTE_TIMEOUT_SECONDS."
            raise RemoteError(f"no result in time{reason}. {advice}")

    def pause(self) -> None:
        """Wait before the next poll. Raises the errors of `check`."""
        self.check()
        self._cancelled.wait(min(POLL_SECONDS, max(self.seconds_left, 0.0)))
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
                response = (exchange or self._exchange)(method, path, **options)
            except list_http_errors() as error:
                failures += 1
                problem = f"cannot reach {self._client.base_url}: {_describe(error)}"
                is_final = not isinstance(error, httpx.TransportError)
                # A POST may have started a job: only a GET is safe to repeat.
                may_run = method == "POST" and not isinstance(error, unsent)
                if may_run or is_final or failures >= ATTEMPTS:
                    self.meter.may_be_running = self.meter.may_be_running or may_run
                    raise Unreachable(f"{problem}.") from error
                self._failure = problem
            else:
                if response.status_code not in _STARTING | _BUSY or self.seconds_left <= 0:
                    return response
            self.pause()

    def _exchange(self, method: str, path: str, **options: Any) -> httpx.Response:
        seconds = min(REQUEST_SECONDS, max(self.seconds_left, 1.0))
        return self._client.request(method, path, timeout=seconds, **options)

    def _exchange_cancellably(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Exchange in an event loop of its own, to end the request on a cancellation."""
        import httpx

        async def exchange() -> httpx.Response:
            client = httpx.AsyncClient(
                base_url=self._client.base_url,
                headers=self._client.headers,
                follow_redirects=True,
                timeout=httpx.Timeout(REQUEST_SECONDS, read=None),
            )
            async with client:
                request = asyncio.ensure_future(client.request(method, path, **options))
                try:
                    while not (await asyncio.wait([request], timeout=LOOK_SECONDS))[0]:
                        self.check()
                    return request.result()
                finally:
                    request.cancel()
                    await asyncio.wait([request])

        started = time.monotonic()
        has_worked = True
        try:
            response = asyncio.run(exchange())
            has_worked = response.status_code not in _BEFORE_ANY_WORK
            return response
        except (httpx.ConnectError, httpx.ConnectTimeout):
            has_worked = False
            raise
        finally:
            if has_worked:
                self.meter.add(time.monotonic() - started)

    def _cancel(self, path: str) -> None:
        """Cancel a job, even after the deadline: a job costs money until its end."""
        for attempt in range(CANCEL_ATTEMPTS):
            if attempt:
                time.sleep(POLL_SECONDS)
            with suppress(*list_http_errors()):
                response = self._client.post(path, timeout=CANCEL_SECONDS)
                if response.status_code not in _STARTING | _BUSY:
                    return
        self.meter.may_be_running = True
        logging.getLogger(__name__).warning("cannot cancel a remote job: %s", path)

    def _fetch(self, address: str) -> tuple[bytes, str]:
        import httpx

        data = bytearray()
        with httpx.stream(
            "GET", address, timeout=REQUEST_SECONDS, follow_redirects=True
        ) as response:
            if response.status_code != 200:
                raise RemoteError(f"cannot download the clip: HTTP {response.status_code}.")
            for chunk in response.iter_bytes():
                self.check()
                data += chunk
                if len(data) > CLIP_MAX_BYTES:
                    raise RemoteError(f"the clip has more than {CLIP_MAX_BYTES} bytes.")
        return bytes(data), response.headers.get("content-type", "")


def read_clips(api: HttpApi, reply: Any) -> list[RemoteClip]:
    """Return the clips of an answer of RunPod or Hugging Face. Raises: `RemoteError`."""
    if not isinstance(reply, Mapping) or not isinstance(reply.get("clips"), list):
        raise RemoteError(f"the answer holds no clips: {str(reply)[:200]}")
    clips = []
    for clip in reply["clips"]:
        if "audio" in clip:
            data, kind = decode_base64(clip["audio"]), ""
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


def read_compute_seconds(reply: Any) -> object:
    """Return the seconds of compute in an answer, or None."""
    timings = reply.get("timings") if isinstance(reply, Mapping) else None
    return timings.get("total") if isinstance(timings, Mapping) else None


def _read_json(response: httpx.Response) -> Any:
    try:
        body = response.json()
    except ValueError:
        body = response.text[:200]
    if response.is_success:
        return body
    raise RemoteRefusal.from_status(response.status_code, _read_reason(body))


def _read_reason(body: Any) -> str:
    """Return the reason, under the key of each platform."""
    if isinstance(body, Mapping):
        for key in ("error", "detail", "title", "message"):
            if body.get(key):
                return _join_lines(str(body[key]))
    return _join_lines(str(body))


def _join_lines(text: str) -> str:
    """Return a text in one line: a proxy answers with a page."""
    return " ".join(text.split())


def _describe(error: Exception) -> str:
    """Return the text of an error, or its type: some of httpx's errors have no text."""
    return str(error) or type(error).__name__
