"""The web page comes in few bytes, and its modules all at once."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path, PurePosixPath

import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.routing import Mount
from starlette.testclient import TestClient

from handlers.job_api.api.page_reply import PageFiles, PageReply, reads_gzip
from handlers.job_api.api.routes_service import WEB
from handlers.job_api.errors import NotFound
from tests.support.job_server import JobServer

PATHS = ("/", "/docs", "/static/style.css", "/static/js/main.js", "/static/js/request_fields.js")
IMPORT = re.compile(r"""^(?:import|export)\b[^;"']*?from "([^"]+)";""", re.MULTILINE)


@pytest.mark.parametrize("path", PATHS)
def test_a_caller_who_reads_gzip_gets_it(server: JobServer, path: str) -> None:
    plain = server.http.get(path, headers={"Accept-Encoding": "identity"})
    packed = server.http.get(path, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content) / 1.5
    assert packed.headers["etag"] != plain.headers["etag"]
    for answer in (plain, packed):
        assert answer.headers["vary"] == "Accept-Encoding"
        assert answer.content == plain.content


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_compressed_version_has_its_own_tag(server: JobServer, path: str, method: str) -> None:
    tags = {
        encoding: server.http.get(path, headers={"Accept-Encoding": encoding}).headers["etag"]
        for encoding in ("identity", "gzip")
    }
    for encoding, own in tags.items():
        for tag in tags.values():
            headers = {"Accept-Encoding": encoding, "If-None-Match": tag}
            answer = server.http.request(method, path, headers=headers)
            assert answer.status_code == (304 if tag == own else 200)
            assert (answer.headers["etag"], answer.headers["vary"]) == (own, "Accept-Encoding")
            headers = {"Accept-Encoding": encoding, "If-Match": tag}
            answer = server.http.request(method, path, headers=headers)
            assert answer.status_code == (200 if tag == own else 412)


def test_a_part_of_a_file_is_not_compressed(server: JobServer) -> None:
    headers = {"Accept-Encoding": "gzip", "Range": "bytes=5-24"}
    part = server.http.get("/static/style.css", headers=headers)
    assert part.status_code == 206
    assert "content-encoding" not in part.headers
    assert part.content == (WEB / "style.css").read_bytes()[5:25]


@pytest.mark.parametrize("name", ["etag", "last-modified"])
def test_no_part_of_the_file_ends_a_compressed_one(server: JobServer, name: str) -> None:
    """Both versions have the same date."""
    path = "/static/style.css"
    packed = server.http.get(path, headers={"Accept-Encoding": "gzip"})
    headers = {"Accept-Encoding": "gzip", "Range": "bytes=5-24", "If-Range": packed.headers[name]}
    answer = server.http.get(path, headers=headers)
    assert (answer.status_code, answer.content) == (200, packed.content)


def test_data_of_a_caller_is_not_compressed(server: JobServer) -> None:
    answer = server.http.get("/v1/models", headers={"Accept-Encoding": "gzip"})
    assert answer.status_code == 200 and len(answer.content) > 500
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_file_that_changes_or_goes_is_noticed(tmp_path: Path, encoding: str) -> None:
    """During an upgrade the package's files are replaced."""
    app = Starlette(routes=[Mount("/", PageFiles(directory=tmp_path))])
    file = tmp_path / "page.css"
    with TestClient(app, headers={"Accept-Encoding": encoding}) as http:
        for text in ("a" * 600, "b" * 700):
            file.write_text(text)
            # The time stays, as with files of a build.
            os.utime(file, (1, 1))
            assert http.get("/page.css").text == text
    gone = TestClient(PageReply(tmp_path / "gone.css"), headers={"Accept-Encoding": encoding})
    with pytest.raises(NotFound):
        gone.get("/")


@pytest.mark.parametrize(
    ("accepted", "is_read"),
    [
        ("gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("br;q=1.0, GZIP;q=0.8", True),
        ("x-gzip", True),
        ("*", True),
        ("deflate", False),
        ("gzip; q=0", False),
        ("gzip;\tq=0.", False),
        ("gzip;q=0.000, *", False),
        ("*;q=0", False),
        ("", False),
    ],
)
def test_the_accepted_encodings_are_read(accepted: str, is_read: bool) -> None:
    assert reads_gzip(Headers({"accept-encoding": accepted})) is is_read


def test_the_accepted_encodings_may_stand_in_two_lines() -> None:
    raw = [(b"accept-encoding", b"br"), (b"accept-encoding", b"gzip")]
    assert reads_gzip(Headers(raw=raw))


def test_the_page_names_each_module_that_it_needs() -> None:
    """A browser learns of an import only when it has the module with it: five rounds of calls."""
    needed = ["js/main.js"]
    for module in needed:
        if not (WEB / module).exists():  # written by the server
            continue
        text = (WEB / module).read_text(encoding="utf-8")
        for name in IMPORT.findall(text):
            path = _resolve(module, name)
            if path not in needed:
                needed.append(path)
    page = (WEB / "index.html").read_text(encoding="utf-8")
    named = re.findall(r'rel="modulepreload" href="/static/([^"]+)"', page)
    assert len(named) > 30
    assert named == sorted(needed[1:])
    # The page is not drawn before this script is there.
    assert page.index("theme.js") < page.index("stylesheet") < page.index("modulepreload")


@pytest.mark.parametrize("name", ["index.html", "docs.html"])
def test_each_file_that_a_page_names_is_there(server: JobServer, name: str) -> None:
    page = (WEB / name).read_text(encoding="utf-8")
    named = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
    assert len(named) > 3
    for path in named:
        assert server.http.head(path).status_code == 200, path


def _resolve(module: str, name: str) -> str:
    parts = list(PurePosixPath(module).parent.parts)
    for step in PurePosixPath(name).parts:
        if step == "..":
            parts.pop()
        elif step != ".":
            parts.append(step)
    return "/".join(parts)


def test_the_same_file_has_the_same_compressed_bytes(server: JobServer) -> None:
    """Its tag is a strong one."""
    with server.http.stream("GET", "/static/style.css", headers={"Accept-Encoding": "gzip"}) as one:
        raw = b"".join(one.iter_raw())
    assert raw == gzip.compress((WEB / "style.css").read_bytes(), mtime=0)
