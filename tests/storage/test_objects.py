"""Objects of a bucket are read in blocks, also over connections that break."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest

from musicgen.errors import BucketRefused, BucketUnavailable, ObjectMissing
from musicgen.settings import BucketSettings
from musicgen.storage.objects import BucketObjects
from tests.support.s3_server import Bucket, s3_server

DATA = bytes(range(256)) * 8_000


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with s3_server() as running:
        yield running


@pytest.fixture
def settings(bucket: Bucket) -> BucketSettings:
    return BucketSettings.from_env(bucket.env)


@dataclass
class _Breaker:
    """Relay to a server that cuts each of the next `cuts` answers after `after` bytes."""

    target: tuple[str, int]
    after: int
    cuts: int
    connections: int = 0
    listener: socket.socket = field(default_factory=socket.socket)

    def run(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client, socket.create_connection(self.target) as server:
            threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
            sent = 0
            while data := server.recv(65_536):
                if self.cuts and sent + len(data) > self.after:
                    self.cuts -= 1
                    client.sendall(data[: self.after - sent])
                    return
                client.sendall(data)
                sent += len(data)

    @staticmethod
    def _forward(client: socket.socket, server: socket.socket) -> None:
        try:
            while data := client.recv(65_536):
                server.sendall(data)
        except OSError:
            pass


@contextmanager
def _breaker(url: str, after: int, cuts: int) -> Iterator[tuple[str, _Breaker]]:
    host, _, port = url.removeprefix("http://").partition(":")
    breaker = _Breaker((host, int(port)), after, cuts)
    breaker.listener.bind(("127.0.0.1", 0))
    breaker.listener.listen()
    threading.Thread(target=breaker.run, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{breaker.listener.getsockname()[1]}", breaker
    finally:
        breaker.listener.close()


def _read_all(objects: BucketObjects, key: str, byte_range: str | None = None) -> bytes:
    return b"".join(iter(objects.open(key, byte_range).read, b""))


def test_a_broken_download_continues_at_its_next_byte(settings: BucketSettings) -> None:
    BucketObjects(settings).put("musicgen/long", DATA, "audio/wav")
    assert settings.endpoint_url is not None
    with _breaker(settings.endpoint_url, after=600_000, cuts=2) as (url, breaker):
        objects = BucketObjects(replace(settings, endpoint_url=url))
        assert _read_all(objects, "musicgen/long") == DATA
        assert breaker.cuts == 0
        breaker.cuts = 1
        assert _read_all(objects, "musicgen/long", "bytes=1000-1900000") == DATA[1000:1_900_001]
        assert breaker.cuts == 0


def test_an_object_that_has_changed_is_not_mixed(settings: BucketSettings) -> None:
    plain = BucketObjects(settings)
    plain.put("musicgen/changed", DATA, "audio/wav")
    assert settings.endpoint_url is not None
    with _breaker(settings.endpoint_url, after=600_000, cuts=1) as (url, _):
        stream = BucketObjects(replace(settings, endpoint_url=url)).open("musicgen/changed")
        assert stream.read(1000) == DATA[:1000]
        plain.put("musicgen/changed", DATA[::-1], "audio/wav")
        with pytest.raises(ObjectMissing):
            while stream.read():
                pass


def test_errors_tell_a_missing_object_from_a_missing_bucket(settings: BucketSettings) -> None:
    """A bucket of another name must not look like a deleted clip."""
    with pytest.raises(ObjectMissing):
        BucketObjects(settings).open("musicgen/none")
    with pytest.raises(BucketRefused) as refused:
        BucketObjects(replace(settings, name="another")).open("musicgen/none")
    away = replace(settings, endpoint_url="http://127.0.0.1:9")
    with pytest.raises(BucketUnavailable) as unavailable:
        BucketObjects(away).open("musicgen/none")
    # Callers see these texts: the inner address is not theirs to know.
    for error in (refused, unavailable):
        assert "http" not in str(error.value)


def test_objects_are_listed_and_deleted_by_their_prefix(settings: BucketSettings) -> None:
    objects = BucketObjects(settings)
    for key in ("live/a/1", "live/a/2", "live/b/1"):
        objects.put(key, b"x", "text/plain")
    objects.delete_all("live/a/")
    assert [item.key for item in objects.scan("live/")] == ["live/b/1"]
    assert objects.exists("live/b/1") and not objects.exists("live/a/1")
