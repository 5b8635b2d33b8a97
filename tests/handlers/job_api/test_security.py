"""Who may not, cannot: keys, owners, names, bodies, headers."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from musicgen.errors import SettingsError
from musicgen.settings.job_api import ApiSettings
from tests.support import ROOT
from tests.support.clips import wav
from tests.support.job_server import JobServer, data_folder, environment, job_server


@dataclass
class Guarded:
    """A server that asks for keys; `keys` by name."""

    server: JobServer
    keys: dict[str, str]

    def as_(self, name: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.keys[name]}"}
        return httpx.Client(base_url=self.server.url, headers=headers, timeout=30)

    def command(self, *arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "handlers.cli", "keys", *arguments],
            env=environment(self.server.folder),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    """Without a worker: jobs wait, and nobody needs one here."""
    limits = {"MUSICGEN_RATE_LIMIT": "1000/minute", "MUSICGEN_JOBS_PER_KEY": 3}
    settings = {
        "MUSICGEN_API_AUTH": "on",
        "MUSICGEN_BODY_SECONDS": 1,
        "MUSICGEN_CORS_ORIGINS": "https://studio.example",
        **limits,
    }
    with data_folder() as folder, job_server(folder, "api", **settings) as server:
        guarded = Guarded(server, {})
        for name, scopes in {
            "one": ["generate"], "two": ["generate"], "all": ["generate", "models", "priority"],
            "watcher": ["models"],
        }.items():  # fmt: skip
            options = [part for scope in scopes for part in ("--scope", scope)]
            told = guarded.command("create", name, *options)
            guarded.keys[name] = told.split("key: ")[1].split()[0]
        yield guarded


CALLS = [
    ("POST", "/generate"),
    ("POST", "/v1/generate"),
    ("GET", "/v1/jobs"),
    ("GET", "/status/" + "0" * 32),
    ("GET", "/v1/status/" + "0" * 32),
    ("DELETE", "/v1/jobs/" + "0" * 32),
    ("PATCH", "/v1/jobs/" + "0" * 32),
    ("POST", "/v1/jobs/" + "0" * 32 + "/cancel"),
    ("DELETE", "/v1/jobs?confirm=everything"),
    ("GET", "/v1/jobs/zip?id=" + "0" * 32),
    ("GET", "/v1/uploads"),
    ("DELETE", "/v1/uploads/" + "0" * 44),
    ("GET", "/v1/jobs/" + "0" * 32 + "/events"),
    ("GET", "/audio/" + "0" * 32 + ".wav"),
    ("GET", "/v1/audio/" + "0" * 32 + ".wav"),
    ("GET", "/v1/audio/" + "0" * 32 + "/stream"),
    ("POST", "/v1/uploads"),
    ("GET", "/v1/models"),
    ("POST", "/v1/models/small/load"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
@pytest.mark.parametrize("key", [None, "mg_", "mg_0000_wrong", "x" * 5000, "mg_" + "é" * 3])
def test_without_a_key_nothing_is_told(
    guarded: Guarded, method: str, path: str, key: str | None
) -> None:
    headers = {} if key is None else {"Authorization": f"Bearer {key}".encode()}
    answer = httpx.request(method, guarded.server.url + path, headers=headers)
    # Wrong keys are counted too: who guesses is made to wait.
    assert answer.status_code in (401, 429), answer.text
    told = "key_needed" if key is None else "key_wrong"
    assert answer.json()["error"]["code"] in (told, "too_many_calls")


def test_a_wrong_secret_of_a_known_prefix_is_wrong(guarded: Guarded) -> None:
    prefix = guarded.keys["one"].rsplit("_", 1)[0].split("_")[1]
    key = f"mg_{prefix}_{'A' * 43}"
    answer = httpx.get(guarded.server.url + "/v1/jobs", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code in (401, 429)


def test_one_key_never_sees_another_s(guarded: Guarded) -> None:
    with guarded.as_("one") as one, guarded.as_("two") as two:
        job_id = one.post("/generate", json={"prompt": "secret"}).json()["job_id"]
        upload = one.post("/v1/uploads", content=wav(0.5)).json()["input_audio"]
        assert one.get(f"/status/{job_id}").json()["request"]["prompt"] == "secret"
        paths = (f"/status/{job_id}", f"/v1/jobs/{job_id}/events", f"/audio/{job_id}.wav",
                 f"/v1/audio/{job_id}/stream")  # fmt: skip
        for path in paths:
            assert two.get(path).status_code == 404
        assert two.delete(f"/v1/jobs/{job_id}").status_code == 404
        assert two.patch(f"/v1/jobs/{job_id}", json={"name": "x"}).status_code == 404
        assert two.post(f"/v1/jobs/{job_id}/cancel").status_code == 404
        assert two.get("/v1/jobs/zip", params={"id": job_id}).status_code == 404
        assert two.delete(f"/v1/uploads/{upload.removeprefix('upload:')}").status_code == 404
        everything = two.delete("/v1/jobs", params={"confirm": "everything"})
        assert everything.json() == {"jobs": 0, "uploads": 0}
        assert two.get("/v1/uploads").json()["uploads"] == []
        assert two.get("/v1/jobs", params={"search": "secret"}).json()["jobs"] == []
        assert two.get("/v1/jobs").json()["jobs"] == []
        body = {"prompt": "x", "input_audio": upload, "continuation": True}
        assert two.post("/generate", json=body).status_code == 422
        assert one.get(f"/status/{job_id}").json()["status"] == "queued"
        one.delete(f"/v1/jobs/{job_id}")


def test_scopes_are_what_a_key_may(guarded: Guarded) -> None:
    with guarded.as_("one") as one, guarded.as_("all") as anything, guarded.as_("watcher") as other:
        urgent = {"prompt": "x", "priority": 5}
        assert one.post("/generate", json=urgent).status_code == 403
        assert one.post("/v1/models/demo/load").status_code == 403
        assert other.post("/generate", json={"prompt": "x"}).status_code == 403
        assert other.post("/v1/uploads", content=wav(0.1)).status_code == 403
        nothing = f"/v1/jobs/{'0' * 32}"
        assert other.delete(nothing).status_code == 403
        assert other.patch(nothing, json={}).status_code == 403
        assert other.delete("/v1/jobs", params={"confirm": "everything"}).status_code == 403
        answer = anything.post("/generate", json=urgent)
        assert answer.status_code == 202
        anything.delete(f"/v1/jobs/{answer.json()['job_id']}")


def test_a_key_has_a_quota(guarded: Guarded) -> None:
    with guarded.as_("two") as two:
        answers = [two.post("/generate", json={"prompt": "x"}) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
        assert int(answers[-1].headers["retry-after"]) >= 1
        for answer in answers[:3]:
            two.delete(f"/v1/jobs/{answer.json()['job_id']}")


def test_an_operator_deletes_all_of_a_key(guarded: Guarded) -> None:
    with guarded.as_("two") as two, guarded.as_("one") as one:
        for caller in (one, two):
            caller.delete("/v1/jobs", params={"confirm": "everything"})
            caller.post("/generate", json={"prompt": "x"})
            caller.post("/v1/uploads", content=wav(0.5))
        prefix = guarded.keys["two"].split("_")[1]
        assert "1 job and 1 upload" in guarded.command("delete-data", prefix)
        assert len(two.get("/v1/jobs").json()["jobs"]) == 1
        assert "Deleted 1 job and 1 upload" in guarded.command(
            "delete-data", f"mg_{prefix}", "--yes"
        )
        assert two.get("/v1/jobs").json()["jobs"] == two.get("/v1/uploads").json()["uploads"] == []
        assert len(one.get("/v1/jobs").json()["jobs"]) == 1
        one.delete("/v1/jobs", params={"confirm": "everything"})


def test_revoked_and_expired_keys_end(guarded: Guarded) -> None:
    told = guarded.command("create", "gone").split("key: ")[1].split()[0]
    short = guarded.command("create", "short", "--days", "0.00001").split("key: ")[1].split()[0]
    assert "gone" in guarded.command("list") and told not in guarded.command("list")
    prefix = told.split("_")[1]
    assert f"{prefix} is revoked" in guarded.command("revoke", f"mg_{prefix}")
    time.sleep(1)
    for key in (told, short):
        answer = httpx.get(
            guarded.server.url + "/v1/jobs", headers={"Authorization": f"Bearer {key}"}
        )
        assert answer.status_code in (401, 429)


def test_the_page_signs_in_with_a_cookie_that_scripts_cannot_read(guarded: Guarded) -> None:
    with httpx.Client(base_url=guarded.server.url) as browser:
        assert browser.get("/session").json()["signed_in"] is False
        answer = browser.post("/session", json={"key": guarded.keys["all"]})
        assert answer.status_code == 204
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie
        assert browser.get("/session").json() | {"version": ""} == {
            "auth": True, "signed_in": True, "name": "all", "version": "",
        }  # fmt: skip
        assert browser.get("/v1/jobs").status_code == 200
        browser.delete("/session")
        assert browser.get("/v1/jobs").status_code == 401


NAMES = [
    "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/secret.wav", "x.wav", "0" * 32,
    "0" * 31 + ".wav", "0" * 32 + ".exe", "0" * 32 + "-0.wav", "0" * 32 + ".wav/..",
    "0" * 32 + "%00.wav", "stream",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_elsewhere_lead_nowhere(guarded: Guarded, name: str) -> None:
    with guarded.as_("one") as one:
        for path in ("/audio/", "/static/", "/status/"):
            answer = one.get(path + name, follow_redirects=True)
            assert answer.status_code == 404, (path, answer.text[:200])


def _raw(server: JobServer, head: bytes, body: bytes = b"", seconds: float = 10.0) -> bytes:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(head + body)
        return connection.recv(4096)


def test_a_body_that_says_it_is_huge_is_not_read(guarded: Guarded) -> None:
    key = guarded.keys["one"].encode()
    for path in (b"/generate", b"/v1/uploads"):
        head = (
            b"POST " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + key
            + b"\r\nContent-Length: 1000000000\r\n\r\n"
        )  # fmt: skip
        assert b" 413 " in _raw(guarded.server, head).split(b"\r\n")[0]


def test_a_body_that_is_larger_than_it_says_is_cut(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(140):
            yield bytes(2**20)

    with guarded.as_("one") as one:
        try:
            answer = one.post("/v1/uploads", content=endless())
        except httpx.WriteError:
            return  # it was hung up on before it had sent everything
        assert answer.status_code == 413
    assert not list((guarded.server.folder / "uploads").glob(".*"))


def _trickled(server: JobServer, head: bytes, piece: bytes) -> bytes:
    """What is answered to `head` and then `piece` again and again, slowly."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=0.1) as connection:
        connection.sendall(head)
        for _ in range(400):
            try:
                return connection.recv(4096)
            except TimeoutError:
                with contextlib.suppress(OSError):
                    connection.sendall(piece)
    raise AssertionError("it is still listened to")


@pytest.mark.parametrize("path", [b"/generate", b"/session"])
def test_a_body_that_trickles_in_is_given_up(guarded: Guarded, path: bytes) -> None:
    """Its time is counted for the whole body, not from byte to byte."""
    head = (
        b"POST " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "
        + guarded.keys["one"].encode()
        + b"\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    )  # fmt: skip
    assert b" 408 " in _trickled(guarded.server, head, b"x").split(b"\r\n")[0]


def test_headers_that_trickle_in_are_given_up(guarded: Guarded) -> None:
    """Connections are dearer than bodies: nobody has said who they are yet."""
    assert (
        _trickled(guarded.server, b"GET /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"X: y\r\n")
        == b""
    )
    assert guarded.as_("one").get("/v1/jobs").status_code == 200


def test_headers_without_an_end_are_refused(guarded: Guarded) -> None:
    """They stay in memory, and nobody has said who they are yet."""
    address = urlsplit(guarded.server.url)
    with socket.create_connection((address.hostname or "", address.port or 0), 20) as caller:
        caller.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * 20_000)
        assert caller.recv(12)[:10] == b"HTTP/1.1 4"


PAGES = [
    ({"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}, 403),
    ({"Origin": "https://elsewhere.example"}, 403),
    ({"Origin": "null", "Sec-Fetch-Site": "cross-site"}, 403),
    ({"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"}, 403),
    ({"Origin": "https://studio.example", "Sec-Fetch-Site": "cross-site"}, 202),
    ({"Origin": "https://proxied.example", "Sec-Fetch-Site": "same-origin"}, 202),
    ({}, 202),
]


@pytest.mark.parametrize(("headers", "status"), PAGES)
def test_pages_of_other_sites_start_nothing(
    guarded: Guarded, headers: dict[str, str], status: int
) -> None:
    """A form or plain text is sent to any address without asking it first."""
    with guarded.as_("all") as everything:
        more = {**headers, "Content-Type": "text/plain"}
        answer = everything.post("/generate", content=b'{"prompt": "x"}', headers=more)
        assert answer.status_code == status, answer.text
        if status == 202:
            everything.delete(f"/v1/jobs/{answer.json()['job_id']}")


def test_only_listed_sites_may_read_answers(guarded: Guarded) -> None:
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, idempotency-key",
    }
    for origin, may in (("https://studio.example", True), ("https://elsewhere.example", False)):
        headers = {"Origin": origin, **asked}
        preflight = httpx.options(guarded.server.url + "/generate", headers=headers)
        answer = httpx.get(guarded.server.url + "/session", headers={"Origin": origin})
        allowed = {each.headers.get("access-control-allow-origin") for each in (preflight, answer)}
        assert allowed == ({origin} if may else {None})
        assert preflight.is_success == may


def test_who_calls_too_often_waits(data: Path) -> None:
    with job_server(data, "api", MUSICGEN_RATE_LIMIT="5/minute") as server:
        answers = [server.http.get("/v1/jobs") for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
        assert answers[-1].json()["error"]["code"] == "too_many_calls"


def test_answers_carry_the_headers_of_a_careful_server(guarded: Guarded) -> None:
    answer = httpx.get(guarded.server.url + "/session")
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "server" not in answer.headers


def test_a_page_elsewhere_cannot_pass_as_this_machine(guarded: Guarded) -> None:
    """A name that is made to mean 127.0.0.1 comes with that name."""
    answer = httpx.get(guarded.server.url + "/session", headers={"Host": "evil.example"})
    assert answer.status_code == 400


def test_keys_cannot_be_turned_off_where_others_can_call() -> None:
    assert not ApiSettings().needs_keys("127.0.0.1")
    assert ApiSettings().needs_keys("0.0.0.0")
    assert ApiSettings(auth="on").needs_keys("localhost")
    with pytest.raises(SettingsError, match="MUSICGEN_API_AUTH"):
        ApiSettings(auth="off").needs_keys("0.0.0.0")
