"""Downloads from the hub: resumed after a broken connection, or one typed line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from musicgen.checkpoints import hub
from musicgen.checkpoints.hub import download_snapshot
from musicgen.errors import CheckpointNotFound
from tests.support.broken_answers import (
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
from tests.support.hub_mirror import Mirror, hub_mirror

MB = 2**20
WEIGHTS = "model.safetensors"
SIZE = 25 * MB
PATTERNS = ["*.json", "*.safetensors"]
WEIGHT_BYTES = bytes(range(256)) * (SIZE // 256)
SIGNED = "http://127.0.0.1:9/weights?X-Amz-Signature=hush"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A hub with one model, whose client does not wait long between attempts."""
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))
    STALLED.clear()
    with hub_mirror({"me/tune": {"config.json": b"{}", WEIGHTS: WEIGHT_BYTES}}) as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
        huggingface_hub.utils.get_session()
        yield running
        STALLED.set()


@pytest.mark.parametrize("breakage", [reset_after(15 * MB), close_after(15 * MB)])
def test_a_broken_connection_is_resumed(mirror: Mirror, breakage: Breakage) -> None:
    """A reset ended in a ReadError of httpx2, and the download began anew."""
    mirror.fault = Times(breakage, 1)
    folder = download_snapshot("me/tune", None, PATTERNS)
    assert (folder / WEIGHTS).read_bytes() == WEIGHT_BYTES
    first, second = mirror.starts
    assert first == 0 and 10 * MB <= second <= 15 * MB


@pytest.mark.parametrize(
    "breakage",
    [
        reset_after(0),
        reset_after(1000),
        close_after(0),
        close_after(1000),
        stall_after(1000),
        send_too_little,
        send_too_much,
        send_no_http,
        *(refuse(status) for status in (401, 403, 404, 429, 500)),
        refuse(200, Content_Encoding="gzip"),
        redirect(SIGNED),
        redirect("http://[bad/"),
        redirect("http://" + "a" * 300 + "/"),
        redirect("ftp://127.0.0.1/x"),
        redirect("/me/tune/resolve/main/nowhere"),
        redirect("?again"),
    ],
)
def test_a_download_that_never_succeeds_ends_in_one_line(
    mirror: Mirror, breakage: Breakage
) -> None:
    """Each ended in a traceback of its own, of httpx2 or of the hub."""
    mirror.fault = Times(breakage)
    with pytest.raises(CheckpointNotFound, match=r"^me/tune is not in the cache") as raised:
        download_snapshot("me/tune", None, PATTERNS)
    text = str(raised.value)
    assert "\n" not in text and len(text) < 500, text
    assert "hush" not in text and "network" in text
    assert len(mirror.starts) <= 7 * hub.ATTEMPTS, "bounded attempts"
