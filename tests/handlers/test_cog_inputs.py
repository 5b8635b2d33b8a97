"""The audio that Cog's callers send: Cog must hand the text on, and ours is the only fetch."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clips import RATE, data_uri, decoded, wav
from tests.support.cog_server import Server
from tests.support.web_neighbour import Neighbour, web_neighbour

pytest.importorskip("cog")


@pytest.fixture
def server(plain_cog: Server) -> Server:
    return plain_cog


@pytest.fixture(scope="module")
def neighbour() -> Iterator[Neighbour]:
    with web_neighbour(wav(0.4)) as known:
        yield known


def test_a_private_address_is_refused_and_never_asked(server: Server, neighbour: Neighbour) -> None:
    """Guards `input_audio: Path`, whose URL Cog fetches itself, from everywhere."""
    for address in (f"{neighbour.url}/clip.wav", "http://169.254.169.254/latest/meta-data/"):
        error = server.fail(continuation=True, input_audio=address)
        assert "input_audio_refused: " in error
    assert not neighbour.asked


def test_a_clip_is_continued(server: Server, neighbour: Neighbour) -> None:
    """The part that is continued is not decoded again: 20 of 50 frames."""
    fields = {"prompt": "", "duration": 1.0, "continuation": True, "seed": 3}
    uri = server.succeed(**fields, input_audio=data_uri(neighbour.clip))
    plain = server.succeed(
        **fields, input_audio=base64.b64encode(neighbour.clip).decode(), output_format="wav"
    )
    assert uri["output"] == plain["output"]
    assert len(decoded(uri["output"], "audio/wav")[0]) == RATE
    assert "33/33 steps" in uri["logs"]


@pytest.mark.parametrize("prefix", ["", "file://", "FILE://"])
def test_a_local_path_is_refused(server: Server, tmp_path: Path, prefix: str) -> None:
    """Cog passes it on as it is, here even one to a file that is good audio."""
    path = tmp_path / "private.wav"
    path.write_bytes(wav(0.2))
    for continuation in (True, False):
        error = server.fail(input_audio=f"{prefix}{path}", continuation=continuation)
        assert "invalid_input_audio: " in error


@pytest.mark.parametrize("address", ["/etc/hostname", "pyproject.toml", "../../etc/hostname"])
def test_a_local_text_is_not_leaked(server: Server, address: str) -> None:
    answer = server.predict(input_audio=address)
    assert answer["status"] == "failed"
    assert "must be an http(s) URL, a data: URI" in answer["error"]
    assert "build-system" not in str(answer)
    assert socket.gethostname() not in str(answer)


def test_a_clip_as_long_as_the_result_is_refused(server: Server, neighbour: Neighbour) -> None:
    audio = data_uri(neighbour.clip)
    error = server.fail(duration=0.4, continuation=True, input_audio=audio)
    assert "invalid_input_audio: " in error
    assert "shorter than duration" in error


def test_what_is_not_audio_is_refused(server: Server) -> None:
    error = server.fail(continuation=True, input_audio=data_uri(b"no music"))
    assert "invalid_input_audio: " in error


def test_a_melody_needs_a_melody_model(server: Server, neighbour: Neighbour) -> None:
    error = server.fail(input_audio=data_uri(neighbour.clip))
    assert "invalid_input_audio: " in error
    assert "Choose a melody model" in error
