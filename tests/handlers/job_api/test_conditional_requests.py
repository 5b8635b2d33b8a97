"""Conditions and ranges: a caller with the file is told so, and every refusal is the JSON error."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from handlers.job_api.api.file_replies import select_ranges
from handlers.job_api.store.embedded_postgres import EmbeddedServer
from tests.support.job_server import JobServer, data_folder, job_server
from tests.support.open_jobs import open_jobs

FILES = ("clip", "flac", "stream", "/", "/docs", "/static/style.css")
LATER = "Fri, 01 Jan 2100 00:00:00 GMT"
EARLIER = "Sat, 01 Jan 2000 00:00:00 GMT"


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[JobServer, str]]:
    """A server, and the id of a job that has ended."""
    with data_folder() as folder, job_server(folder, "api") as server:
        # A compressed page is another version, which has no ranges.
        server.http.headers["Accept-Encoding"] = "identity"

        async def make_clip() -> str:
            async with open_jobs(server, EmbeddedServer(folder).url) as (ended, _):
                return ended

        yield server, asyncio.run(make_clip())


def _address(name: str, job_id: str) -> str:
    clips = {"clip": ".wav", "flac": ".flac", "stream": "/stream"}
    return f"/v1/audio/{job_id}{clips[name]}" if name in clips else name


@pytest.mark.parametrize("name", FILES)
def test_what_the_caller_has_is_not_sent_again(served: tuple[JobServer, str], name: str) -> None:
    """Each visit to the page fetched every clip again, although ETag was sent."""
    server, job_id = served
    address = _address(name, job_id)
    whole = server.http.get(address)
    etag, date = whole.headers["etag"], whole.headers["last-modified"]
    for condition, is_known in (
        ({"If-None-Match": etag}, True),
        ({"If-None-Match": f'"x", W/{etag}'}, True),
        ({"If-None-Match": "*"}, True),
        ({"If-None-Match": '"x"'}, False),
        ({"If-Modified-Since": date}, True),
        ({"If-Modified-Since": LATER}, True),
        ({"If-Modified-Since": EARLIER}, False),
        ({"If-Modified-Since": "yesterday"}, False),
        ({"If-None-Match": '"x"', "If-Modified-Since": LATER}, False),
        ({"If-None-Match": etag, "Range": "bytes=999999999-"}, True),
    ):
        for method in ("GET", "HEAD"):
            answer = server.http.request(method, address, headers=condition)
            assert answer.status_code == (304 if is_known else 200), condition
            if is_known:
                assert answer.content == b"" and answer.headers["etag"] == etag
            elif method == "GET":
                assert answer.content == whole.content


@pytest.mark.parametrize("name", FILES)
def test_another_version_than_the_expected_one_is_not_sent(
    served: tuple[JobServer, str], name: str
) -> None:
    """A download was continued with bytes of another version, though If-Match forbade it."""
    server, job_id = served
    address = _address(name, job_id)
    whole = server.http.get(address)
    etag, date = whole.headers["etag"], whole.headers["last-modified"]
    for conditions, status in (
        ({"If-Match": etag}, 200),
        ({"If-Match": f'"x", {etag}'}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"x"'}, 412),
        # Weak tags never match here (RFC 9110, 13.1.1).
        ({"If-Match": f"W/{etag}"}, 412),
        ({"If-Match": ""}, 412),
        ({"If-Unmodified-Since": date}, 200),
        ({"If-Unmodified-Since": LATER}, 200),
        ({"If-Unmodified-Since": EARLIER}, 412),
        ({"If-Unmodified-Since": "yesterday"}, 200),
        ({"If-Match": etag, "If-Unmodified-Since": EARLIER}, 200),
        ({"If-Match": '"x"', "If-None-Match": etag}, 412),
        ({"If-Match": etag, "If-None-Match": etag}, 304),
        ({"If-Match": etag, "Range": "bytes=1-9"}, 206),
        ({"If-Match": '"x"', "Range": "bytes=1-9"}, 412),
        ({"If-Unmodified-Since": EARLIER, "Range": "bytes=1-9"}, 412),
        ({"If-Match": '"x"', "Range": "bytes=999999999-"}, 412),
        ({"If-Match": etag, "If-Range": '"x"', "Range": "bytes=1-9"}, 200),
        ({"If-Match": etag, "If-Range": etag, "Range": "bytes=1-9"}, 206),
    ):
        answer = server.http.get(address, headers=conditions)
        assert answer.status_code == status, conditions
        if status == 412:
            assert answer.json()["error"]["code"] == "precondition_failed"
        elif status != 304:
            assert answer.content == (whole.content[1:10] if status == 206 else whole.content)
        head = server.http.head(address, headers=conditions)
        # HEAD has no ranges (RFC 9110, 14.2).
        assert (head.status_code, head.content) == (200 if status == 206 else status, b"")
        if head.status_code == 200:
            assert head.headers["content-length"] == str(len(whole.content))


@pytest.mark.parametrize("name", FILES)
def test_ranges_are_answered_or_refused_as_json(served: tuple[JobServer, str], name: str) -> None:
    """400 and 416 came as plain text."""
    server, job_id = served
    address = _address(name, job_id)
    whole = server.http.get(address)
    size = len(whole.content)
    for byte_range in ("bytes=5-2", "nonsense", "lines=1-2", "bytes=", "bytes=x-y"):
        answer = server.http.get(address, headers={"Range": byte_range})
        assert (answer.status_code, answer.content) == (200, whole.content), byte_range
    part = server.http.get(address, headers={"Range": "bytes=1-9"})
    assert (part.status_code, part.content) == (206, whole.content[1:10])
    outside = server.http.get(address, headers={"Range": f"bytes={size}-"})
    assert outside.status_code == 416 and outside.headers["content-range"] == f"bytes */{size}"
    assert outside.json()["error"]["code"] == "range_not_satisfiable"
    assert str(size) in outside.json()["error"]["message"]
    assert outside.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/static/style.css", "/static/js/form.js", "/static/js/request_fields.js"],
)
def test_no_part_of_the_page_is_used_without_a_question(
    served: tuple[JobServer, str], path: str
) -> None:
    """Browsers kept the scripts of an old version for days, beside the new page."""
    answer = served[0].http.get(path)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("bytes=0-1", "bytes=0-1"),
        ("Bytes= 0-1 ,, -5", "bytes=0-1,-5"),
        # One range outside the file made all of them unsatisfiable.
        ("bytes=0-1,100-,-0", "bytes=0-1"),
        ("bytes=100-,-0", "bytes=100-,-0"),
        # Python reads these numbers, HTTP does not know them.
        ("bytes=1_0-20", None),
        ("bytes=+1-2", None),
        ("bytes=5-2", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("items=0-1", None),
        (f"bytes={'9' * 5000}-", f"bytes={'9' * 18}-"),
        (f"bytes=-{'9' * 5000}", f"bytes=-{'9' * 18}"),
    ],
)
def test_only_ranges_of_the_file_are_kept(sent: str, kept: str | None) -> None:
    assert select_ranges(sent, 100) == kept


def test_a_range_outside_the_file_costs_no_other_range(served: tuple[JobServer, str]) -> None:
    server, job_id = served
    address = _address("clip", job_id)
    whole = server.http.get(address).content
    mixed = server.http.get(address, headers={"Range": f"bytes=0-9,{len(whole)}-"})
    assert (mixed.status_code, mixed.content) == (206, whole[:10])
    assert mixed.headers["content-range"] == f"bytes 0-9/{len(whole)}"
    odd = server.http.get(address, headers={"Range": f"bytes={'9' * 5000}-"})
    assert odd.status_code == 416 and odd.json()["error"]["code"] == "range_not_satisfiable"
