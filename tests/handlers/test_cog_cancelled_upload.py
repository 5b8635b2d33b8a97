"""Cancelling on Cog's server while a clip is on its way to a bucket that does not answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from musicgen.storage.spool import Spool
from tests.support.clips import wav
from tests.support.cog_server import cog_server
from tests.support.silent_server import SilentServer
from tests.support.web_neighbour import web_neighbour

pytest.importorskip("cog")


@pytest.mark.parametrize("runner", ["Runner", "StreamingRunner"])
def test_a_cancelled_upload_frees_its_slot_and_its_model(tmp_path: Path, runner: str) -> None:
    """The slot stayed taken until MUSICGEN_BUCKET_DEADLINE."""
    bucket = SilentServer()
    variables = {
        "MUSICGEN_BUCKET": "music",
        "MUSICGEN_BUCKET_ENDPOINT_URL": bucket.url.removesuffix("/sound.wav"),
        "MUSICGEN_BUCKET_ACCESS_KEY_ID": "key",
        "MUSICGEN_BUCKET_SECRET_ACCESS_KEY": "secret",
        "MUSICGEN_SPOOL_DIR": str(tmp_path / "spool"),
    }
    body = {"input": {"prompt": "x", "duration": 0.5, "seed": 1}}
    with (
        web_neighbour(wav(0.4)) as neighbour,
        cog_server(tmp_path / "cog", f"predict.py:{runner}", **variables) as server,
    ):
        body["webhook"] = f"{neighbour.url}/webhook"
        answer = server.client.put(
            "/predictions/upload", json=body, headers={"Prefer": "respond-async"}
        )
        assert answer.status_code == 202
        assert bucket.wait_for(opened=1)
        assert server.post("/predictions/upload/cancel").status_code == 200
        neighbour.wait_for_status("canceled")
        # Another model is loaded once the last prediction has left this one. Its weights are cut.
        assert "The server cannot use this model" in server.fail(model_version="large")
        assert (bucket.opened, bucket.closed) == (1, 0), "no attempt has ended by itself"
        assert len(Spool(tmp_path / "spool").list_waiting()) == 1
