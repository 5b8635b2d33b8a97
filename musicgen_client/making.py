"""Calls that wait: one call makes a clip and answers its sound, whole or as it is made."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any, TypeVar, Unpack

import httpx

from musicgen_client.calls import Calls
from musicgen_client.fields import GenerationFields
from musicgen_client.sending import HTTP_ERRORS, Steps, describe_loss

MAKE_SECONDS = 600.0
"""A server answers within its MUSICGEN_WAIT_SECONDS, 540 by default."""
T = TypeVar("T")


class MakingSounds(ABC):
    """Waiting calls of the synchronous client."""

    _calls: Calls

    def make(
        self,
        *,
        timeout: float = MAKE_SECONDS,
        idempotency_key: str | None = None,
        **fields: Unpack[GenerationFields],
    ) -> bytes:
        """Make one clip in one call, and return its file; `output_format` is wav by default.

        `timeout`: seconds without an answer; the server cancels the job of a closed connection.
        """
        steps = _build_call(self._calls, fields, timeout, idempotency_key)
        return bytes(self._run(steps).content)

    def make_live(
        self,
        *,
        timeout: float = MAKE_SECONDS,
        idempotency_key: str | None = None,
        **fields: Unpack[GenerationFields],
    ) -> Iterator[bytes]:
        """Make one clip in one call, and yield its sound as it is made; in wav, mp3 or ogg.

        Closing the iterator cancels the job on the server.
        """
        steps = _build_call(self._calls, fields, timeout, idempotency_key, is_live=True)
        with closing(self._run(steps, is_stream=True)) as answer:
            try:
                yield from answer.iter_bytes()
            except HTTP_ERRORS as error:
                raise describe_loss(error) from error

    @abstractmethod
    def _run(self, steps: Steps[T], *, is_stream: bool = False) -> T:
        """Send the requests of a call."""


class AsyncMakingSounds(ABC):
    """Waiting calls of the asynchronous client."""

    _calls: Calls

    async def make(
        self,
        *,
        timeout: float = MAKE_SECONDS,
        idempotency_key: str | None = None,
        **fields: Unpack[GenerationFields],
    ) -> bytes:
        """Make one clip in one call, and return its file; see `MusicGenClient.make`."""
        steps = _build_call(self._calls, fields, timeout, idempotency_key)
        return bytes((await self._run(steps)).content)

    async def make_live(
        self,
        *,
        timeout: float = MAKE_SECONDS,
        idempotency_key: str | None = None,
        **fields: Unpack[GenerationFields],
    ) -> AsyncIterator[bytes]:
        """Make one clip in one call, and yield its sound; see `MusicGenClient.make_live`."""
        steps = _build_call(self._calls, fields, timeout, idempotency_key, is_live=True)
        answer = await self._run(steps, is_stream=True)
        async with aclosing(answer):
            try:
                async for block in answer.aiter_bytes():
                    yield block
            except HTTP_ERRORS as error:
                raise describe_loss(error) from error

    @abstractmethod
    async def _run(self, steps: Steps[T], *, is_stream: bool = False) -> T:
        """Send the requests of a call."""


def _build_call(
    calls: Calls,
    fields: Mapping[str, Any],
    timeout: float,
    idempotency_key: str | None,
    *,
    is_live: bool = False,
) -> Steps[httpx.Response]:
    """Send the call in the shape of OpenAI's speech; upload a `Path` or bytes first."""
    body = {"output_format": "wav", **fields}
    body["response_format"] = body.pop("output_format")
    audio = body.get("input_audio")
    if isinstance(audio, Path | bytes):
        upload = yield from calls.upload(audio)
        body["input_audio"] = upload.input_audio
    if "prompt" in body:
        body["input"] = body.pop("prompt")
    if is_live:
        body["stream_format"] = "audio"
    headers = {"Idempotency-Key": idempotency_key or secrets.token_urlsafe(16)}
    return (yield from calls.send_speech(body, headers, timeout))
