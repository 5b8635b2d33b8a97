"""Calls of the model server in this process, over a predictor that makes text files."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from handlers.model_server.app import ModelServer, make_app
from musicgen.settings import ModelServerSettings, Settings
from tests.support.fake_predictor import FakePredictor

SOUND = base64.b64encode(b"music").decode()
FIELDS = {"prompt": "x"}


@asynccontextmanager
async def nothing() -> AsyncIterator[None]:
    yield


def client(server: ModelServer, **settings: Any) -> httpx.AsyncClient:
    app = make_app(server, nothing, ModelServerSettings(**settings))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://model")


def post(
    predictor: FakePredictor, path: str = "/invocations", settings: Any = None, **call: Any
) -> httpx.Response:
    async def run() -> httpx.Response:
        server = ModelServer(Settings(), ModelServerSettings(**(settings or {})))
        server.open(predictor)
        async with client(server, **(settings or {})) as http:
            return await http.post(path, **call)

    return asyncio.run(run())


def code_of(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])
