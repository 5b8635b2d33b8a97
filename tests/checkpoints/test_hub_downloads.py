"""Downloads from the hub: resumed after a broken connection, or one typed line."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants, utils
from huggingface_hub.errors import HfHubHTTPError

from handlers.doctor import model_checks
from musicgen import catalog
from musicgen.checkpoints import card, hub
from musicgen.checkpoints.hub import download_snapshot
from musicgen.checkpoints.local import find_licence
from musicgen.errors import CheckpointNotFound, DiskFull
from musicgen.settings import Settings
from tests.support import ROOT
from tests.support.broken_answers import (
    OUTLASTED,
    STALLED,
    Breakage,
    Times,
    close_after,
    redirect,
    refuse,
    reset_after,
    send_no_http,
    send_too_little,
    send_too_much,
    stall_after,
)
from tests.support.commands import run_command
from tests.support.disks import small_disk
from tests.support.hub_mirror import Mirror, hub_mirror

pytestmark = pytest.mark.skipif(
    HfHubHTTPError.__mro__[1].__module__.startswith("requests"),
    reason="an old huggingface_hub reads its endpoint at import, and has no timeout",
)
MB = 2**20
DEMO = ROOT / "musicgen" / "demo" / "checkpoint"
SIGNED = "http://127.0.0.1:9/weights?X-Amz-Signature=hush"
WEIGHTS = "model.safetensors"
SIZE = 25 * MB
PATTERNS = ["*.json", "*.safetensors"]
FAULTS = {
    "reset at once": reset_after(0),
    "reset": reset_after(100),
    "closed at once": close_after(0),
    "closed": close_after(100),
    "stalled": stall_after(100),
    "too little": send_too_little,
    "too much": send_too_much,
    "no HTTP": send_no_http,
    **{str(status): refuse(status) for status in (401, 403, 404, 429, 500)},
    "a page of a proxy": refuse(200, Content_Type="text/html"),
    "no gzip": refuse(200, Content_Encoding="gzip"),
    "redirect to nobody": redirect(SIGNED),
    "redirect to no address": redirect("http://[bad/"),
    "redirect to no host": redirect("http://" + "a" * 300 + "/"),
    "redirect to another protocol": redirect("ftp://127.0.0.1/x"),
    "redirect to no file": redirect("/me/tune/resolve/main/nowhere"),
    "redirect to no signed file": redirect("/nowhere?X-Amz-Signature=hush"),
    "redirect in a circle": redirect("?again"),
}
WEIGHT_BYTES = bytes(range(256)) * (SIZE // 256)


def _close_session() -> None:
    if hasattr(utils, "close_session"):
        utils.close_session()


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A hub with one model, whose client does not wait long between attempts."""
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))
    STALLED.clear()
    OUTLASTED.clear()
    with hub_mirror({"me/tune": {"config.json": b"{}", WEIGHTS: WEIGHT_BYTES}}) as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
        _close_session()
        yield running
        STALLED.set()
        _close_session()


@pytest.mark.parametrize("breakage", [reset_after(15 * MB), close_after(15 * MB)])
def test_a_broken_connection_is_resumed(mirror: Mirror, breakage: Breakage) -> None:
    """A reset ended in a ReadError of httpx2, and the download began anew."""
    mirror.fault = Times(breakage, 1)
    folder = download_snapshot("me/tune", None, PATTERNS)
    assert (folder / WEIGHTS).read_bytes() == WEIGHT_BYTES
    first, second = mirror.starts
    assert first == 0 and 10 * MB <= second <= 15 * MB


@pytest.mark.parametrize("place", ["fault", "api_fault"])
@pytest.mark.parametrize("breakage", FAULTS.values(), ids=FAULTS)
def test_a_download_that_never_succeeds_ends_in_one_line(
    mirror: Mirror, breakage: Breakage, place: str
) -> None:
    """Each ended in a traceback of its own, of httpx2 or of the hub."""
    setattr(mirror, place, Times(breakage))
    with pytest.raises(CheckpointNotFound, match=r"^me/tune is not in the cache") as raised:
        download_snapshot("me/tune", None, PATTERNS)
    text = str(raised.value)
    assert "\n" not in text and len(text) < 500, text
    assert "hush" not in text and "network" in text
    assert len(mirror.asked) <= 10 * hub.ATTEMPTS, "bounded attempts"
    assert not OUTLASTED.is_set(), "bounded waits"


@pytest.mark.parametrize("breakage", FAULTS.values(), ids=FAULTS)
def test_a_question_of_the_doctor_ends_in_one_line(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, breakage: Breakage
) -> None:
    for module in (card, model_checks):
        monkeypatch.setattr(module, "HUB_SECONDS", 0.2)
    mirror.api_fault = Times(breakage)
    settings = Settings(model="me/tune")
    with pytest.raises(CheckpointNotFound, match=r"^me/tune is not in the hub's cache") as raised:
        list(model_checks.check_model(settings, "cpu", asks_hub=True))
    assert "\n" not in str(raised.value) and "hush" not in str(raised.value)
    assert find_licence(settings, asks_hub=True) == catalog.UNKNOWN_LICENCE
    assert not OUTLASTED.is_set(), "bounded waits"


def test_a_full_disk_is_named(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name and the network were blamed."""
    with small_disk(tmp_path / "disk", 8) as disk:
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(disk))
        with pytest.raises(DiskFull, match="HF_HOME"):
            download_snapshot("me/tune", None, PATTERNS)


@pytest.fixture(scope="module")
def refusing_proxy() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            refuse(403)(self, b"")

        def log_message(self, *args: object) -> None:
            """Says nothing on standard error."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}"
        web.shutdown()


def test_the_command_line_ends_in_one_line(refusing_proxy: str, tmp_path: Path) -> None:
    """A proxy's refusal ended in a hundred lines."""
    hub_settings = {
        "HF_ENDPOINT": "https://hub.example",
        "HTTPS_PROXY": refusing_proxy,
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "0",
    }
    output = str(tmp_path / "x.wav")
    ended = run_command(
        ["generate", "piano", "--model", "me/tune", "-o", output], {**os.environ, **hub_settings}
    )
    assert ended.status == 1
    assert len(ended.lines) == 1 and "proxy" in ended.text, ended.text
    assert "ProxyError: 403" in ended.text


@pytest.mark.slow
def test_the_command_line_survives_a_reset(tmp_path: Path) -> None:
    """A whole clip, by a model that arrived in two pieces."""
    files = {path.name: path.read_bytes() for path in DEMO.iterdir() if path.is_file()}
    with hub_mirror({"me/tune": files}) as mirror:
        mirror.fault = Times(reset_after(11 * MB), 1)
        hub_settings = {
            "HF_ENDPOINT": mirror.url,
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
        }
        output = tmp_path / "x.wav"
        arguments = ["generate", "piano", "--model", "me/tune", "--duration", "0.2"]
        ended = run_command([*arguments, "-o", str(output)], {**os.environ, **hub_settings})
    assert ended.status == 0, ended.text
    assert output.stat().st_size > 1000
    assert "Traceback" not in ended.text and len(mirror.starts) == 2
