"""Client of a platform's HTTP API: JSON, with a token."""

from __future__ import annotations

import contextlib
from typing import Any

import httpx

from infra.deploy.target import Check, CheckError, DeployError
from musicgen.http_errors import list_http_errors

SECONDS = 60.0
TOKEN_HINT = "a token of the platform."


class Rest:
    """HTTP client of one platform.

    The methods raise `DeployError` with the platform's own words, and `CheckError` without a
    token; the message names `variable`.
    """

    def __init__(self, base_url: str, token: str | None, variable: str) -> None:
        self._missing = None if token else f"{variable} is not set. Set it to {TOKEN_HINT}"
        self.token_check = Check(variable, bool(token), "" if token else f"set it to {TOKEN_HINT}")
        """Whether there is a token; asks nobody."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(base_url=base_url, headers=headers, timeout=SECONDS)

    def get(self, path: str) -> Any:
        """Return the body of a GET."""
        return self._call("GET", path)

    def find(self, path: str) -> Any:
        """Return the body of a GET, or None for status 404."""
        answer = self._send("GET", path)
        return None if answer.status_code == 404 else _read(answer)

    def post(self, path: str, body: Any) -> Any:
        """Send `body` with POST and return the reply."""
        return self._call("POST", path, body)

    def patch(self, path: str, body: Any) -> Any:
        """Send `body` with PATCH and return the reply."""
        return self._call("PATCH", path, body)

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        return _read(self._send(method, path, body))

    def _send(self, method: str, path: str, body: Any = None) -> httpx.Response:
        if self._missing:
            raise CheckError(self._missing)
        try:
            return self._client.request(method, path, json=body)
        except list_http_errors() as error:
            name = type(error).__name__
            raise DeployError(f"{method} {self._client.base_url}{path}: {name}: {error}") from error


def _read(answer: httpx.Response) -> Any:
    if answer.is_success:
        # A proxy may send a page of its own instead.
        with contextlib.suppress(ValueError):
            return answer.json()
    request = answer.request
    raise DeployError(f"{request.method} {request.url}: {answer.status_code}: {_detail(answer)}")


def _detail(answer: httpx.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        return " ".join(answer.text[:300].split())
    if not isinstance(body, dict):
        return str(body)[:300]
    errors = "; ".join(map(str, body.get("errors") or ()))
    return f"{body.get('detail') or body.get('title') or body}{': ' if errors else ''}{errors}"
