"""Audio in a request: every form of it becomes the same bytes in a file that goes away again."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers import input_audio
from handlers.input_audio import FIELD, SHORTEST_BASE64, fetch_input_audio, open_input_audio
from musicgen.audio.decode import read_audio
from musicgen.errors import InputAudioRefused, InputAudioTooLarge, InvalidInputAudio
from musicgen.net.fetch import DownloadLimits
from tests.support.web_neighbour import Neighbour, web_neighbour

SOUND = bytes(range(256))
ANY = st.characters() | st.sampled_from("\ud800%=")
NESTED: list[object] = []
for _ in range(5000):
    NESTED = [NESTED]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("input")


@pytest.fixture(scope="module")
def neighbour() -> Iterator[Neighbour]:
    with web_neighbour(SOUND) as known:
        yield known


@given(data=st.binary(min_size=SHORTEST_BASE64))
def test_every_form_gives_the_bytes_back(folder: Path, data: bytes) -> None:
    plain = base64.b64encode(data).decode()
    forms: list[object] = [
        data,
        plain,
        plain.rstrip("="),
        base64.urlsafe_b64encode(data).decode(),
        base64.encodebytes(data).decode(),
        f"data:audio/wav;base64,{plain}",
        f"data:audio/webm;codecs=opus;base64,{plain}",
        f"data:video/mp4;base64,{plain}",
        f"data:video/webm;base64,{plain}",
        f"data:;base64,{plain}",
        f"DATA:application/octet-stream;base64,{quote_from_bytes(plain.encode())}",
        f"data:audio/mpeg;codecs=x,{quote_from_bytes(data)}",
    ]
    for form in forms:
        path = fetch_input_audio(form, folder)
        assert path is not None and path.read_bytes() == data
        path.unlink()


@given(
    text=st.text(ANY)
    | st.from_regex(r"(/|\./|file:|data:|[a-z]:\\)\S*", fullmatch=True)
    | st.text(ANY).map("data:audio/wav,{}".format)
    | st.text(ANY).map("data:audio/wav;base64,{}".format)
    | st.text("Aa0+/-_= \n!", min_size=SHORTEST_BASE64)
)
def test_any_other_text_is_refused_and_touches_nothing(folder: Path, text: str) -> None:
    try:
        path = fetch_input_audio(text, folder)
    except InvalidInputAudio:
        assert not list(folder.iterdir())
    else:
        assert path is not None and path.parent == folder
        assert list(folder.iterdir()) == [path]
        path.unlink()


@pytest.mark.parametrize(
    "value",
    [
        "/etc/hostname",
        "file:///etc/hostname",
        "clip.wav",
        "C:\\clip.wav",
        "data:text/html,hello",
        "data:audio/wav;base64",
        "data:audio/wav,",
        "data:audio/wav,\ud800",
        "/".join(["srv"] * 30) + "/clip.wav",
        " " * 1_000_000 + "!",
        b"",
        "",
        7,
        True,
        ["http://example.com"],
        {"url": "http://example.com"},
        NESTED,
        Path("/etc/hostname"),
    ],
)
def test_what_is_no_sound_is_refused_with_what_is(folder: Path, value: object) -> None:
    with pytest.raises(InvalidInputAudio, match=r"http\(s\) URL|empty") as raised:
        fetch_input_audio(value, folder)
    assert len(str(raised.value)) < 600
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    "value", [bytes(1001), "A" * 1400, f"data:,{'a' * 1001}", f"data:;base64,{'A' * 1400}"]
)
def test_the_limit_holds_for_every_form(
    folder: Path, monkeypatch: pytest.MonkeyPatch, value: object
) -> None:
    monkeypatch.setattr(input_audio, "LIMITS", DownloadLimits(bytes=1000))
    with pytest.raises(InputAudioTooLarge):
        fetch_input_audio(value, folder)
    assert not list(folder.iterdir())


def test_exactly_the_limit_is_allowed_in_every_form(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_audio, "LIMITS", DownloadLimits(bytes=len(SOUND)))
    text = base64.encodebytes(SOUND).decode()
    percents = "".join(f"%{byte:02x}" for byte in SOUND)
    for form in (SOUND, text, f"data:;base64,{text}", f"data:,{percents}"):
        path = fetch_input_audio(form, folder)
        assert path is not None and path.read_bytes() == SOUND
        path.unlink()


@given(text=st.text("%4aZé", max_size=60), length=st.integers(3, 9))
def test_slices_do_not_change_what_escapes_say(folder: Path, text: str, length: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(input_audio, "_SLICE", length)
        path = fetch_input_audio(f"data:,x{text}", folder)
    assert path is not None and path.read_bytes() == unquote_to_bytes(f"x{text}")
    path.unlink()


def test_nothing_is_no_file(folder: Path) -> None:
    assert fetch_input_audio(None, folder) is None
    assert not list(folder.iterdir())


def test_a_url_is_fetched_where_that_is_allowed(folder: Path, neighbour: Neighbour) -> None:
    path = fetch_input_audio(neighbour.url, folder, ("127.0.0.1/32",))
    assert path is not None and path.read_bytes() == SOUND
    path.unlink()
    with pytest.raises(InputAudioRefused):
        fetch_input_audio(neighbour.url, folder)


def test_the_file_is_gone_after_the_request_however_it_ends() -> None:
    payload = {"prompt": "x", "input_audio": SOUND}
    with open_input_audio(payload) as fields:
        first = fields["input_audio"]
        assert first.read_bytes() == SOUND
    with pytest.raises(RuntimeError), open_input_audio(payload) as fields:
        second = fields["input_audio"]
        raise RuntimeError
    assert not first.exists() and not second.exists()
    assert payload["input_audio"] is SOUND


def test_an_error_does_not_show_the_name_of_the_fetched_file() -> None:
    """A caller read "(was '94c74841a99c4c429cc692071d27ce88')", a name of this machine."""
    with pytest.raises(InvalidInputAudio) as raised, open_input_audio({FIELD: SOUND}) as fields:
        read_audio(fields[FIELD])
    assert str(raised.value).startswith("input_audio is not readable audio, or is damaged. Send ")
    assert "was" not in str(raised.value)
    with (
        pytest.raises(InvalidInputAudio, match=r"was '0 samples'"),
        open_input_audio({FIELD: SOUND}),
    ):
        raise InvalidInputAudio(FIELD, "is too short", value="0 samples")


@pytest.mark.parametrize("payload", [{"prompt": "x"}, {"prompt": "x", "input_audio": None}])
def test_a_request_without_audio_passes_unchanged(payload: dict[str, object]) -> None:
    with open_input_audio(payload) as fields:
        assert fields == payload


def test_a_file_of_this_service_passes_and_stays(tmp_path: Path) -> None:
    """An upload: only code of this service makes a `Path` of its name."""
    upload = tmp_path / "upload"
    upload.write_bytes(SOUND)
    with open_input_audio({"prompt": "x", "input_audio": upload}) as fields:
        assert fields["input_audio"] == upload
    assert upload.read_bytes() == SOUND
