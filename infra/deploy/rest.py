"""A platform's own HTTP API: JSON with a token, and its refusals in words."""

from __future__ import annotations

from typing import Any

import httpx

from infra.deploy.target import DeployError

SECONDS = 60.0


class Rest:
    """Raises: `DeployError` for a `token` of None, which names `variable`."""

    def __init__(self, base_url: str, token: str | None, variable: str) -> None:
        if not token:
            raise DeployError(f"set {variable}, the platform's token")
        headers = {"Authorization": f"Bearer {token}"}
        self._client = httpx.Client(base_url=base_url, headers=headers, timeout=SECONDS)

    def get(self, path: str) -> Any:
        return self._call("GET", path)

    def find(self, path: str) -> Any:
        """None for what is not there."""
        answer = self._send("GET", path)
        return None if answer.status_code == 404 else _read(answer)

    def post(self, path: str, body: Any) -> Any:
        return self._call("POST", path, body)

    def patch(self, path: str, body: Any) -> Any:
        return self._call("PATCH", path, body)

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        return _read(self._send(method, path, body))

    def _send(self, method: str, path: str, body: Any = None) -> httpx.Response:
        try:
            return self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            name = type(error).__name__
            raise DeployError(f"{method} {self._client.base_url}{path}: {name}: {error}") from error


def _read(answer: httpx.Response) -> Any:
    if answer.is_success:
        return answer.json()
    request = answer.request
    raise DeployError(f"{request.method} {request.url}: {answer.status_code}: {_detail(answer)}")


def _detail(answer: httpx.Response) -> str:
    try:
        told = answer.json()
    except ValueError:
        return answer.text[:300]
    if not isinstance(told, dict):
        return str(told)[:300]
    errors = "; ".join(map(str, told.get("errors") or ()))
    return f"{told.get('detail') or told.get('title') or told}{': ' if errors else ''}{errors}"
